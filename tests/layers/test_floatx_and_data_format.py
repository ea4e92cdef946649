"""What the settings of Keras, `floatx` and `image_data_format`, change in every layer."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_gappos import layers, models
from tests.layers.layer_checks import packed, to_numpy

X = np.random.default_rng(0).integers(0, 9, (3, 6, 8, 2)).astype("float32")
CELLS = np.array([0, 3, 1], "int32")


def learnable_polyphase_pool(**arguments):
    """With weights of 1, with which it keeps the component of the largest mean."""
    layer = layers.LearnablePolyphasePool2D(**arguments)
    layer.conv.kernel_initializer = keras.initializers.Ones()
    layer.score.kernel_initializer = keras.initializers.Ones()
    return layer


LAYERS = {
    "AdaptivePolyphasePool2D": lambda **k: layers.AdaptivePolyphasePool2D(**k),
    "AdaptivePolyphasePool2D by l1": lambda **k: layers.AdaptivePolyphasePool2D(norm=1, **k),
    "AdaptivePolyphasePool2D by l3": lambda **k: layers.AdaptivePolyphasePool2D(4, 3, **k),
    "BlurPool2D reflect": lambda **k: layers.BlurPool2D(**k),
    "BlurPool2D replicate": lambda **k: layers.BlurPool2D(3, 3, "replicate", **k),
    "BlurPool2D circular": lambda **k: layers.BlurPool2D(5, 2, "circular", **k),
    "BlurPool2D zero": lambda **k: layers.BlurPool2D(3, 3, "zero", **k),
    "BlurPool2D window": lambda **k: layers.BlurPool2D(3, (2, 3), window=4, **k),
    "ChannelMask": lambda **k: layers.ChannelMask([1], **k),
    "ChannelPermutation fixed": lambda **k: layers.ChannelPermutation("fixed", seed=1, **k),
    "ChannelPermutation batch": lambda **k: layers.ChannelPermutation("batch", seed=1, **k),
    "ChannelPermutation sample": lambda **k: layers.ChannelPermutation("sample", seed=1, **k),
    "GridPlacement": lambda **k: layers.GridPlacement(2, **k),
    "LearnablePolyphasePool2D": lambda **k: learnable_polyphase_pool(**k),
    "Pad2D zeros": lambda **k: layers.Pad2D((1, 2), **k),
    "Pad2D reflect": lambda **k: layers.Pad2D(((0, 2), (3, 1)), "reflect", **k),
    "Pad2D replicate": lambda **k: layers.Pad2D(((0, 2), (3, 1)), "replicate", **k),
    "Pad2D circular": lambda **k: layers.Pad2D(((0, 7), (9, 1)), "circular", **k),
    "RandomShift constant": lambda **k: layers.RandomShift(2, "constant", 3.0, seed=1, **k),
    "RandomShift nearest": lambda **k: layers.RandomShift(2, "nearest", seed=1, **k),
    "RandomShift reflect": lambda **k: layers.RandomShift(2, "reflect", seed=1, **k),
    "RandomShift wrap": lambda **k: layers.RandomShift(2, "wrap", seed=1, **k),
    "ResizeLike": lambda **k: layers.ResizeLike(**k),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture(autouse=True)
def same_settings_after_the_test():
    floatx, data_format = keras.config.floatx(), keras.config.image_data_format()
    yield
    keras.config.set_floatx(floatx)
    keras.config.set_image_data_format(data_format)


def more_inputs(name, shape=(3, 9, 5, 1)):
    if name == "GridPlacement":
        return [ops.convert_to_tensor(CELLS, "int32")]
    return [np.zeros(shape, "float32")] if name == "ResizeLike" else []


def outputs(layer, *inputs):
    training = {"training": True} if isinstance(layer, layers.RandomShift) else {}
    return layer(*inputs, **training)


@every_layer
@pytest.mark.parametrize("floatx", ["float16", "bfloat16", "float64"])
def test_floatx_decides_dtypes_and_no_index(name, floatx):
    inputs = [X, *more_inputs(name)]
    expected = to_numpy(outputs(LAYERS[name](), *inputs))
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(floatx)
    layer = LAYERS[name]()
    inputs[0] = ops.cast(X, floatx)
    result = outputs(layer, *inputs)
    double_in_jax = keras.backend.backend() == "jax" and floatx == "float64"
    assert keras.backend.standardize_dtype(result.dtype) == ("float32" if double_in_jax else floatx)
    tolerance = 1e-6 if floatx == "float64" else 0.05
    np.testing.assert_allclose(to_numpy(ops.cast(result, "float32")), expected, atol=tolerance)


@every_layer
@pytest.mark.parametrize("floatx", ["float16", "bfloat16"])
def test_a_compiled_model_of_unknown_size_runs_at_every_floatx(name, floatx):
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(floatx)
    arrays = [X, *more_inputs(name)]
    size = (6, 8, 2) if name == "GridPlacement" else (None, None, 2)
    inputs = [keras.Input(size)]
    for array in arrays[1:]:
        inputs.append(
            keras.Input(array.shape[1:], dtype=keras.backend.standardize_dtype(array.dtype))
        )
    layer = LAYERS[name]()
    model = keras.Model(packed(inputs), outputs(layer, *inputs))
    result = model.predict(packed(arrays), verbose=0)
    assert result.shape == tuple(layer.compute_output_shape(*(array.shape for array in arrays)))


@every_layer
def test_channels_first_is_followed_or_refused(name):
    inputs = [X, *more_inputs(name)]
    expected = to_numpy(outputs(LAYERS[name](), *inputs))
    keras.config.set_image_data_format("channels_first")
    followers = ("AdaptivePolyphase", "Blur", "ChannelPermutation", "LearnablePolyphase", "Pad")
    if not name.startswith(followers):
        with pytest.raises(ValueError, match=r"takes images .*set_image_data_format"):
            LAYERS[name]()
        return
    first = np.moveaxis(X, -1, 1)
    for arguments in ({}, {"data_format": "channels_first"}):
        layer = LAYERS[name](**arguments)
        result = to_numpy(layer(first))
        np.testing.assert_allclose(np.moveaxis(result, 1, -1), expected, rtol=1e-5)
        assert tuple(layer.compute_output_shape(first.shape)) == result.shape
        assert layer.get_config()["data_format"] == "channels_first"
    last = LAYERS[name](data_format="channels_last")
    np.testing.assert_array_equal(to_numpy(last(X)), expected)


def test_a_reference_has_the_channels_first_too():
    reference = np.moveaxis(np.random.default_rng(1).random((3, 6, 8, 5)), -1, 1)
    layer = layers.AdaptivePolyphasePool2D(data_format="channels_first")
    result = to_numpy(layer(np.moveaxis(X, -1, 1), reference))
    twin = layers.AdaptivePolyphasePool2D(data_format="channels_last")
    expected = to_numpy(twin(X, np.moveaxis(reference, 1, -1)))
    np.testing.assert_array_equal(np.moveaxis(result, 1, -1), expected)


def test_networks_refuse_channels_first():
    keras.config.set_image_data_format("channels_first")
    for build in (models.resnet, models.deeplabv3):
        arguments = {"depth": 18, "input_shape": (3, 32, 32), "num_classes": 2}
        with pytest.raises(ValueError, match="image_data_format"):
            build(**arguments)
    for build in (models.gapnet, models.permutenet):
        with pytest.raises(ValueError, match="image_data_format"):
            build((3, 32, 32), 2)
