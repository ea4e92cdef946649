import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_gappos.models import gapnet


def images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def test_the_outputs_are_the_averages_of_the_channels_of_the_last_convolution():
    model = gapnet((40, 48, 3), 9, width=4)
    assert [layer.name for layer in model.layers[-2:]] == ["class_conv", "latent"]
    assert not any(isinstance(layer, layers.Dense) for layer in model.layers)
    both = keras.Model(model.input, [model.get_layer("class_conv").output, model.output])
    maps, logits = both(images(2, 40, 48, 3))
    assert maps.shape == (2, 3, 3, 9)
    np.testing.assert_allclose(np.mean(maps, (1, 2)), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth, channels", [(18, 32), (50, 128)])
def test_is_a_resnet_with_a_7x7_stem_and_a_3x3_convolution_to_the_outputs(depth, channels):
    model = gapnet((16, 16, 3), 9, depth=depth, width=4)
    stem, last = model.get_layer("stem_conv"), model.get_layer("class_conv")
    assert (stem.kernel.shape, stem.strides) == ((7, 7, 3, 4), (2, 2))
    assert last.kernel.shape == (3, 3, channels, 9)
    assert "stem_pool" not in [layer.name for layer in model.layers]


def test_takes_images_of_any_size_where_none_is_given():
    model = gapnet((None, None, 3), 9, width=4)
    for size in [(16, 16), (33, 50)]:
        assert model(images(2, *size, 3)).shape == (2, 9)


def test_logits_are_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    model = gapnet((16, 16, 3), 9, width=4)
    assert model.get_layer("class_conv").compute_dtype == "float16"
    logits = ops.convert_to_numpy(model(images(2, 16, 16, 3)))
    assert logits.dtype == "float32"
    assert logits.min() < 0  # no softmax


def test_a_reloaded_model_has_equal_outputs(tmp_path):
    model = gapnet((16, 16, 3), 9, width=4)
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    x = images(2, 16, 16, 3)
    np.testing.assert_allclose(model(x), reloaded(x), rtol=1e-6)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_outputs": 0}, "`num_outputs` must be an integer of at least 1.*num_outputs=0"),
        ({"depth": 19}, r"`depth` must be one of \(18, 34, 50\). Received: depth=19"),
        ({"width": -1}, "`width` must be an integer of at least 1. Received: width=-1"),
        ({"input_shape": (24,)}, r"`input_shape` must be .* Received: input_shape=\(24,\)"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    good = {"input_shape": (16, 16, 3), "num_outputs": 9, "width": 4}
    with pytest.raises(ValueError, match=message):
        gapnet(**{**good, **arguments})
