import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_gappos as kg
from keras_gappos.layers import BlurPool2D, Pad2D
from keras_gappos.surgery import antialias, set_padding

slow = pytest.mark.slow
NUMPY = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def images(*shape):
    return np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")


def network(*stack, size=(8, 12)):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((*size, 3)), *stack])


def outputs(model, x):
    return ops.convert_to_numpy(model(x, training=False))


LAYERS = {
    "conv": lambda k, s: layers.Conv2D(4, k, s, padding="same", name="layer"),
    "dilated": lambda k, s: layers.Conv2D(4, k, dilation_rate=s, padding="same", name="layer"),
    "depthwise": lambda k, s: layers.DepthwiseConv2D(k, s, padding="same", name="layer"),
    "separable": lambda k, s: layers.SeparableConv2D(4, k, s, padding="same", name="layer"),
    "max": lambda k, s: layers.MaxPooling2D(k, s, padding="same", name="layer"),
    "average": lambda k, s: layers.AveragePooling2D(k, s, padding="same", name="layer"),
}


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
def test_circular_padding_gives_what_the_layer_gives_on_a_tiled_image(kind, known):
    x = images(2, 8, 12, 3)
    tiled = np.tile(x, (1, 3, 3, 1))
    for window, strides in ((3, 2), (2, 2), (4, 1)):
        layer = LAYERS[kind](window, strides)
        inputs = keras.Input((8, 12, 3) if known else (None, None, 3))
        keras.utils.set_random_seed(0)
        model = keras.Model(inputs, layer(inputs))
        got = outputs(set_padding(model, "circular"), x)
        dense = keras.Model(inputs, layer.output) if not known else layer
        expected = ops.convert_to_numpy(dense(tiled))
        height, width = got.shape[1:3]
        assert expected.shape[1:3] == (3 * height, 3 * width)
        middle = expected[:, height : 2 * height, width : 2 * width]
        np.testing.assert_allclose(got, middle, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_a_padding_layer_before_a_convolution_gets_the_mode(mode):
    pad = layers.ZeroPadding2D(((0, 1), (2, 1)), name="pad")
    conv = layers.Conv2D(4, 3, 2, name="conv")
    model = set_padding(network(pad, conv), mode)
    assert model.get_layer("pad").mode == mode
    x = images(2, 8, 12, 3)
    padded = np.pad(x, ((0, 0), (0, 1), (2, 1), (0, 0)), mode=NUMPY[mode])
    expected = ops.convert_to_numpy(conv(padded))
    np.testing.assert_allclose(outputs(model, x), expected, rtol=1e-5, atol=1e-6)


def test_padding_that_no_convolution_or_pool_reads_stays():
    x = inputs = keras.Input((8, 12, 3))
    x = layers.ReLU()(layers.ZeroPadding2D(1, name="frame")(x))
    y = layers.ZeroPadding2D(1, name="shared")(x)
    model = keras.Model(inputs, [layers.Conv2D(2, 3)(y), layers.MaxPooling2D()(y), y])
    new = set_padding(model, "reflect")
    kept = (new.get_layer(name) for name in ("frame", "shared"))
    assert all(isinstance(layer, layers.ZeroPadding2D) for layer in kept)


OWN = {
    "resnet": lambda: kg.models.resnet(18, (32, 32, 3), 5, width=4, stem="imagenet"),
    "blur": lambda: kg.models.resnet(18, (32, 32, 3), 5, width=4, downsampling="blur"),
    "mobilenet": lambda: keras.applications.MobileNet(
        (32, 32, 3), alpha=0.25, weights=None, include_top=False
    ),
}


@pytest.mark.parametrize(
    "name", ["resnet", *(pytest.param(name, marks=slow) for name in OWN if name != "resnet")]
)
def test_zeros_give_the_old_outputs_and_other_modes_the_old_weights(name):
    keras.utils.set_random_seed(0)
    model = OWN[name]()
    x = images(2, 32, 32, 3)
    expected = outputs(model, x)
    np.testing.assert_array_equal(outputs(set_padding(model, "zeros"), x), expected)
    new = set_padding(model, "replicate")
    assert [w.shape for w in new.weights] == [w.shape for w in model.weights]
    pads = [layer for layer in new.layers if isinstance(layer, Pad2D)]
    assert len(pads) > 10 and {pad.mode for pad in pads} == {"replicate"}
    blurs = [layer for layer in new.layers if isinstance(layer, BlurPool2D)]
    assert {blur.padding for blur in blurs} == ({"replicate"} if name == "blur" else set())
    kept = [layer for layer in new.layers if getattr(layer, "padding", None) == "same"]
    assert all(max(layer.kernel_size) == 1 for layer in kept)
    assert np.abs(outputs(new, x) - expected).max() > 0.01 * np.abs(expected).max()
    if name == "resnet":  # which pads without "same"
        again = set_padding(new, "zeros")
        np.testing.assert_allclose(outputs(again, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "stem", "downsampling"),
    [
        ("reflect", "imagenet", "blur"),
        pytest.param("replicate", "canvas", "stride", marks=slow),
        pytest.param("circular", "imagenet", "stride", marks=slow),
        ("circular", "cifar", "blur"),
    ],
)
def test_a_padded_resnet_is_the_resnet_that_is_built_with_that_padding(mode, stem, downsampling):
    model, built = (
        kg.models.resnet(18, (64, 64, 3), 5, 4, stem, downsampling, padding=padding)
        for padding in ("zeros", mode)
    )
    built.set_weights(model.get_weights())
    x = images(2, 64, 64, 3)
    expected = outputs(built, x)
    got = outputs(set_padding(model, mode), x)
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def roll(x, down, right):
    return np.roll(x, (down, right), axis=(1, 2))


def downsampling():
    """Every way to subsample, on maps that the strides divide."""
    x = inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(6, 3, 2, padding="same", activation="relu")(x)
    x = layers.DepthwiseConv2D(3, 2)(layers.ZeroPadding2D(((0, 1), (0, 1)))(x))
    x = layers.MaxPooling2D(2)(x)
    short = layers.Conv2D(5, 1, 2)(x)
    x = layers.AveragePooling2D(3, 2)(
        layers.ZeroPadding2D(1)(layers.Conv2D(5, 3, padding="same")(x))
    )
    return keras.Model(inputs, layers.Add()([short, x]))


@pytest.mark.parametrize("first", ["antialias", "set_padding"])
def test_circular_and_anti_aliased_in_either_order_a_network_moves_with_its_image(first):
    keras.utils.set_random_seed(0)
    model, x = downsampling(), images(2, 32, 32, 3)
    if first == "antialias":
        new = set_padding(antialias(model, 3, padding="circular"), "circular")
    else:
        new = antialias(set_padding(model, "circular"), 3, padding="circular")
    expected = outputs(new, x)
    scale = np.abs(expected).max()
    got = outputs(new, roll(x, 16, 0))
    np.testing.assert_allclose(got, roll(expected, 1, 0), atol=1e-5 * scale)

    def change(model):  # by a shift of one pixel, of what is pooled
        pooled = [outputs(model, each).mean(axis=(1, 2)) for each in (x, roll(x, 1, 1))]
        return np.abs(pooled[1] - pooled[0]).max() / np.abs(pooled[0]).max()

    assert change(new) < 0.5 * change(model)


def test_layers_that_are_called_twice_and_nested_models_are_padded_too(tmp_path):
    conv = layers.Conv2D(3, 3, padding="same", name="conv")
    inner = network(layers.Conv2D(3, 3, 2, padding="same", name="conv"))
    inner.name = "inner"
    inputs = keras.Input((8, 12, 3))
    model = keras.Model(inputs, inner(conv(conv(inputs))))
    x = images(2, 8, 12, 3)
    new = set_padding(model, "circular")
    moved = roll(outputs(new, x), 1, 2)
    np.testing.assert_allclose(outputs(new, roll(x, 2, 4)), moved, rtol=1e-4, atol=1e-5)
    new.save(tmp_path / "circular.keras")
    loaded = keras.saving.load_model(tmp_path / "circular.keras")
    np.testing.assert_allclose(outputs(loaded, x), outputs(new, x), rtol=1e-6)
    assert not {id(w) for w in new.weights} & {id(w) for w in model.weights}


@pytest.mark.parametrize(
    ("stack", "mode", "message"),
    [
        ([layers.ReLU()], "mirror", r"`mode` must be one of .*mode='mirror'"),
        ([layers.ReLU()], "zero", r"mode='zero'. Did you mean 'zeros'\?"),
        (
            [layers.Conv2D(3, 23, padding="same", name="wide")],
            "reflect",
            r"'wide_pad' reflects .*Received: 8x12.*mode='replicate'",
        ),
    ],
)
def test_what_cannot_be_padded_is_named(stack, mode, message):
    model = network(*stack)
    with pytest.raises(ValueError, match=message):
        set_padding(model, mode)


def test_a_model_without_a_graph_and_hidden_layers_are_named():
    with pytest.raises(ValueError, match="that knows its inputs"):
        set_padding(keras.Sequential([layers.MaxPooling2D()]), "circular")
    hidden = layers.TimeDistributed(layers.Conv2D(2, 3, padding="same", name="conv"))
    inputs = keras.Input((2, 8, 8, 3))
    model = keras.Model(inputs, hidden(inputs))
    with pytest.raises(ValueError, match=r"a TimeDistributed that contains \['conv'\]"):
        set_padding(model, "circular")
    assert set_padding(model, "zeros").output_shape == model.output_shape
