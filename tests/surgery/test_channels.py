import keras
import numpy as np
import pytest
from keras import layers

import keras_gappos as kg
from keras_gappos.surgery import permute_channels

IMAGES = np.random.default_rng(0).random((3, 8, 8, 3)).astype("float32")


def network():
    """A nested backbone, a shared layer, a layer without an effect on the output."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(inputs)
    backbone = keras.Model(inputs, layers.ReLU(name="relu")(x), name="backbone")
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D(name="gap")(backbone(inputs))
    shared = layers.Dense(4, name="shared")
    return keras.Model(inputs, layers.Dense(5, name="head")(shared(shared(x))))


def predict(model):
    return model.predict(IMAGES, verbose=0)


def permutation_of(model):
    layer = model.get_layer("channel_permutation")
    return keras.ops.convert_to_numpy(layer.permutation)


def test_the_latent_reaches_the_head_in_another_order():
    model = kg.models.resnet(18, (8, 8, 3), 5, width=2)
    permuted = permute_channels(model, mode="fixed", seed=3)
    order = permutation_of(permuted)
    assert not (order == np.arange(16)).all()
    kernel, bias = model.get_layer("logits").get_weights()
    shuffled = predict(permuted)
    assert not np.allclose(shuffled, predict(model))
    inverse = np.empty_like(kernel)
    inverse[order] = kernel  # shared: the permuted network has these weights, too
    model.get_layer("logits").set_weights([inverse, bias])
    np.testing.assert_allclose(predict(model), shuffled, atol=1e-5)


def test_any_layer_of_a_nested_backbone_can_be_shuffled():
    model = network()
    permuted = permute_channels(model, at="relu", mode="fixed", seed=1)
    inner = permuted.get_layer("backbone")
    assert [layer.name for layer in inner.layers][-2:] == ["relu", "channel_permutation"]
    expected = keras.ops.convert_to_numpy(model.get_layer("backbone")(IMAGES))
    found = keras.ops.convert_to_numpy(inner(IMAGES))
    np.testing.assert_array_equal(found, expected[..., permutation_of(inner)])
    by_layer = permute_channels(
        model, model.get_layer("backbone").get_layer("relu"), "fixed", seed=1
    )
    np.testing.assert_array_equal(predict(by_layer), predict(permuted))


def test_permutenet_is_a_resnet_whose_latent_is_shuffled():
    net = kg.models.permutenet((16, 16, 3), 5, width=2, mode="fixed", seed=4)
    inputs = net.inputs[0]
    plain = keras.Model(inputs, net.get_layer("logits")(net.get_layer("latent").output))
    permuted = permute_channels(plain, mode="fixed", seed=4)
    images = np.random.default_rng(1).random((3, 16, 16, 3)).astype("float32")
    np.testing.assert_array_equal(
        permuted.predict(images, verbose=0), net.predict(images, verbose=0)
    )


def test_each_call_shuffles_anew_and_the_model_stays_as_it_is():
    model = network()
    before = predict(model)
    permuted = permute_channels(model, seed=0)
    assert not np.allclose(predict(permuted), predict(permuted))
    np.testing.assert_array_equal(predict(model), before)


def test_a_shuffled_network_is_saved_with_its_permutation(tmp_path):
    permuted = permute_channels(network(), at="relu", mode="fixed")
    permuted.save(tmp_path / "permuted.keras")
    loaded = keras.saving.load_model(tmp_path / "permuted.keras")
    np.testing.assert_array_equal(predict(loaded), predict(permuted))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"at": "rellu"}, "Did you mean 'relu'"),
        ({"at": layers.Dense(3, name="other")}, "at='other', model with layers"),
        ({"at": "shared"}, "`at` must be a layer that is called once.*'shared', called 2 times"),
        ({"mode": "batches"}, "Did you mean 'batch'"),
        ({"seed": -1}, "`seed` must be an integer in"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        permute_channels(network(), **arguments)


def test_models_it_cannot_take_are_named():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="must be a Functional or Sequential"):
        permute_channels(Subclassed())
    inputs = keras.Input((3, 8, 8))
    first = layers.GlobalAveragePooling2D(data_format="channels_first")(inputs)
    with pytest.raises(ValueError, match="data_format='channels_first'"):
        permute_channels(keras.Model(inputs, first))
    no_pooling = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="dense")])
    with pytest.raises(ValueError, match=r"must have a global pooling layer.*'dense'"):
        permute_channels(no_pooling)
