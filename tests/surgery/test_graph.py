import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_gappos.surgery.graph import free_name, rebuild

IMAGES = np.random.default_rng(0).random((3, 8, 8, 3)).astype("float32")


def nested_network():
    """A layer called twice, an operation, nested models, and named inputs and outputs."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    features = layers.ReLU(name="inner_relu")(layers.Conv2D(3, 3, padding="same")(inputs))
    backbone = keras.Model(inputs, features, name="backbone")
    untouched = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 1)], name="untouched")
    image = keras.Input((8, 8, 3), name="image")
    relu = layers.ReLU(name="relu")
    x = relu(ops.subtract(backbone(relu(image)), 0.1))
    pooled = layers.GlobalAveragePooling2D(name="pool")(untouched(x))
    return keras.Model({"image": image}, {"logits": layers.Dense(2)(pooled), "map": x}, name="net")


def outputs_of(model):
    return keras.tree.map_structure(ops.convert_to_numpy, model({"image": IMAGES}))


def swap_relus(layer):
    return layers.LeakyReLU(negative_slope=0.5) if isinstance(layer, layers.ReLU) else None


def test_a_model_in_which_nothing_is_replaced_computes_the_same():
    model = nested_network()
    config = model.get_config()
    again = rebuild(model, lambda layer: None)
    assert again is not model and again.name == "net"
    assert [id(layer) for layer in again.layers] == [id(layer) for layer in model.layers]
    for name, values in outputs_of(model).items():
        np.testing.assert_array_equal(outputs_of(again)[name], values)
    assert model.get_config() == config


def test_layers_are_replaced_in_nested_models_and_at_each_call(tmp_path):
    model = nested_network()
    asked = []

    def replace(layer):
        asked.append(layer)
        return swap_relus(layer)

    swapped = rebuild(model, replace)
    assert len(asked) == len({id(layer) for layer in asked})
    assert [id(weight) for weight in swapped.weights] == [id(weight) for weight in model.weights]
    assert swapped.get_layer("untouched") is model.get_layer("untouched")
    assert swapped.get_layer("backbone") is not model.get_layer("backbone")
    flat = [*swapped.layers, *swapped.get_layer("backbone").layers]
    assert not any(isinstance(layer, layers.ReLU) for layer in flat)
    leaky = layers.LeakyReLU(negative_slope=0.5)
    convolution = model.get_layer("backbone").layers[1]
    expected = leaky(leaky(convolution(leaky(IMAGES))) - 0.1)
    np.testing.assert_allclose(outputs_of(swapped)["map"], expected, rtol=1e-5, atol=1e-6)
    assert (outputs_of(swapped)["map"] != outputs_of(model)["map"]).any()

    swapped.save(tmp_path / "swapped.keras")
    loaded = keras.saving.load_model(tmp_path / "swapped.keras")
    np.testing.assert_array_equal(outputs_of(loaded)["logits"], outputs_of(swapped)["logits"])


def test_a_layer_can_be_inserted_before_another():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(2, 3, name="conv")])
    conv = model.get_layer("conv")
    padded = rebuild(
        model, lambda layer: (lambda x: conv(layers.ZeroPadding2D(1)(x))) if layer is conv else None
    )
    assert padded.output_shape == (None, 8, 8, 2)
    inside = ops.convert_to_numpy(padded(IMAGES))[:, 1:-1, 1:-1]
    np.testing.assert_allclose(inside, ops.convert_to_numpy(model(IMAGES)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("taken", "name"), [((), "mask"), (("mask",), "mask_1"), (("mask", "mask_1"), "mask_2")]
)
def test_a_free_name_is_not_taken(taken, name):
    stack = [layers.Identity(name=each) for each in taken]
    assert free_name(keras.Sequential([keras.Input((2,)), *stack]), "mask") == name
