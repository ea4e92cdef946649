import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_gappos as kg
from keras_gappos.decisions import read_head, top1
from keras_gappos.surgery.latent import find_latent_layer, with_latent

IMAGES = np.random.default_rng(0).random((3, 8, 8, 3)).astype("float32")


def convolutions(name, *more):
    """A stack for (8, 8, 3) images that ends in `more`."""
    first = layers.Conv2D(4, 3, activation="relu", name=f"{name}_conv")
    return keras.Sequential([keras.Input((8, 8, 3)), first, *more], name=name)


def sequential():
    return convolutions(
        "stack", layers.GlobalMaxPooling2D(name="latent"), layers.Dropout(0.5), layers.Dense(5)
    )


def functional():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    latent = layers.GlobalAveragePooling2D(name="latent")(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(5)(latent), name="functional")


def backbone_as_a_layer():
    """As the models of `keras.applications` come with `pooling="avg"`."""
    inputs = keras.Input((8, 8, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))
    backbone = keras.Model(inputs, pooled, name="latent")
    inputs = keras.Input((8, 8, 3))
    x = layers.Rescaling(2.0)(inputs)
    return keras.Model(inputs, layers.Dense(5)(backbone(x)), name="with_backbone")


def pooled_twice():
    """One pooling layer at two places: the later one is the latent."""
    inputs = keras.Input((8, 8, 3))
    pool = layers.GlobalAveragePooling2D(keepdims=True, name="latent")
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    gated = layers.Multiply(name="gated")([x, layers.Dense(4, "sigmoid")(pool(x))])
    return keras.Model(inputs, layers.Dense(5)(layers.Flatten()(pool(gated))), name="gate")


def pooled_in_the_output():
    """No dense layer after the pooling, as in GAPNet."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(5, 3)(inputs)
    return keras.Model(inputs, layers.GlobalAveragePooling2D(name="latent")(x), name="gapnet")


def classifier_as_a_layer():
    """As a network behind its preprocessing: the pooling is not the nested model's last layer."""
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, functional()(layers.Rescaling(2.0)(inputs)), name="prepared")


BUILDERS = (
    sequential,
    functional,
    backbone_as_a_layer,
    pooled_twice,
    pooled_in_the_output,
    classifier_as_a_layer,
)
every_model = pytest.mark.parametrize("build", BUILDERS, ids=[f.__name__ for f in BUILDERS])


def outputs_of(model, images=IMAGES):
    return keras.tree.map_structure(ops.convert_to_numpy, model(images, training=False))


@every_model
@pytest.mark.filterwarnings("error::UserWarning")
def test_the_latent_is_the_vector_that_the_last_global_pooling_gives(build):
    model = build()
    assert find_latent_layer(model).name == "latent"
    outputs, latents = outputs_of(with_latent(model))
    np.testing.assert_allclose(outputs, outputs_of(model), rtol=1e-5, atol=1e-6)
    if build is pooled_in_the_output:
        np.testing.assert_array_equal(latents, outputs)
    else:
        head = model.layers[-1]
        head = head.layers[-1] if build is classifier_as_a_layer else head
        logits = latents.reshape((3, -1)) @ head.get_weights()[0]
        np.testing.assert_allclose(logits, outputs, rtol=1e-4, atol=1e-5)  # biases are 0 at first
        assert latents.std() > 0


@every_model
def test_the_model_itself_stays_as_it_was(build, tmp_path):
    model = build()
    config, expected = model.get_config(), outputs_of(model)
    with_latent(model)
    with_latent(model)
    assert model.get_config() == config
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(outputs_of(again), expected, rtol=1e-5, atol=1e-6)
    cloned = keras.models.clone_model(model)
    cloned.set_weights(model.get_weights())
    np.testing.assert_allclose(outputs_of(cloned), expected, rtol=1e-5, atol=1e-6)


def test_the_packages_own_networks_have_one():
    model = kg.models.resnet(18, (8, 8, 3), 5, width=2)
    assert with_latent(model).output_shape == [(None, 5), (None, 16)]


@pytest.mark.tensorflow  # on the others it only takes longer
def test_the_networks_of_keras_have_one():
    backbone = keras.applications.MobileNet(
        (32, 32, 3), alpha=0.25, include_top=False, weights=None, pooling="avg"
    )
    model = keras.Sequential([keras.Input((32, 32, 3)), backbone, layers.Dense(5)])
    assert with_latent(model).output_shape == [(None, 5), (None, 256)]


def test_weights_are_shared_with_the_model():
    model = functional()
    both = with_latent(model)
    assert [id(weight) for weight in both.weights] == [id(weight) for weight in model.weights]
    model.layers[-1].bias.assign(np.arange(5.0))
    np.testing.assert_allclose(outputs_of(both)[0], outputs_of(model), rtol=1e-6)


def test_a_backbone_of_two_models_gives_each_model_its_own_latent():
    backbone = convolutions("backbone", layers.GlobalAveragePooling2D())

    def on_backbone(scale):
        inputs = keras.Input((8, 8, 3))
        x = backbone(layers.Rescaling(scale)(inputs))
        return keras.Model(inputs, layers.Dense(5)(x))

    one, other = on_backbone(1.0), on_backbone(-1.0)
    for model, images in ((one, IMAGES), (other, -IMAGES), (one, IMAGES)):
        outputs, latents = outputs_of(with_latent(model))
        np.testing.assert_allclose(latents, outputs_of(backbone, images), rtol=1e-5)
        np.testing.assert_allclose(outputs, outputs_of(model), rtol=1e-5)


def test_a_layer_or_its_name_is_taken_instead():
    model = functional()
    conv = model.get_layer("conv")
    for latent in (conv, "conv"):
        assert find_latent_layer(model, latent) is conv
        features = outputs_of(with_latent(model, latent))[1]
        np.testing.assert_allclose(features, outputs_of(conv), rtol=1e-5, atol=1e-6)


def without_pooling():
    return convolutions("plain", layers.Flatten(name="flat"), layers.Dense(5, name="head"))


@pytest.mark.parametrize(
    ("build", "latent", "message"),
    [
        (without_pooling, None, r"must have a global pooling layer, or `latent` must name another"),
        (functional, "latents", r"`latent` must be a layer of `model`, its name, or None.*latents"),
        (functional, layers.Dense(2, name="stranger"), r"`latent` must be a layer.*'stranger'"),
        (functional, 7, r"`latent` must be a layer of `model`.*latent=7"),
    ],
)
def test_a_missing_layer_is_named_and_the_layers_are_listed(build, latent, message):
    model = build()
    for function in (find_latent_layer, with_latent):
        with pytest.raises(ValueError, match=message) as error:
            function(model, latent)
        assert all(repr(layer.name) in str(error.value) for layer in model.layers)


def test_a_layer_that_gives_no_single_tensor_is_refused():
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(inputs)
    halves = keras.Model(x, [x[:, :1], x[:, 1:]], name="halves")
    model = keras.Model(inputs, layers.Concatenate()(halves(x)))
    with pytest.raises(ValueError, match=r"gives one tensor. Received: halves"):
        with_latent(model, "halves")


@pytest.mark.parametrize(
    ("head", "kind", "threshold"),
    [
        ([layers.Dense(1)], "logits", 0.0),
        ([layers.Dense(1, "sigmoid")], "labels", 0.5),
        ([layers.Dense(1), layers.Activation("sigmoid")], "labels", 0.5),
        ([keras.Sequential([keras.Input((4,)), layers.Dense(1, "sigmoid")])], "labels", 0.5),
        ([layers.Dense(2, "sigmoid"), layers.Dropout(0.1)], "labels", 0.5),
        ([layers.Dense(10)], "logits", 0.0),
        ([layers.Dense(10), layers.Softmax()], "classes", 0.0),
    ],
)
def test_a_head_tells_the_threshold_of_its_outputs(head, kind, threshold):
    model = convolutions("net", layers.GlobalAveragePooling2D(), *head)
    assert read_head(model)[:2] == (kind, threshold)


def test_top1_is_the_largest_output_or_a_yes():
    logits = ops.convert_to_tensor([[0.1, 0.7, 0.2], [2.0, -1.0, 0.0]])
    assert ops.convert_to_numpy(top1(logits)).tolist() == [1, 0]
    single = ops.convert_to_tensor([[-0.2], [0.3], [0.7]])
    assert ops.convert_to_numpy(top1(single, 0.0)).tolist() == [0, 1, 1]
    assert ops.convert_to_numpy(top1(single, 0.5)).tolist() == [0, 0, 1]
    assert keras.backend.standardize_dtype(top1(single, 0.5).dtype) == "int32"
    assert ops.convert_to_numpy(top1(logits, 0.1)).tolist() == [[0, 1, 1], [1, 0, 0]]
