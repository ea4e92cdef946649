import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_gappos as kg
from keras_gappos.layers import BlurPool2D, Pad2D
from keras_gappos.surgery import antialias
from keras_gappos.surgery.graph import graph_inputs
from keras_gappos.surgery.windows import has_window, layers_inside

# Of `keras.applications`, with the range of the pixels they take.
NETWORKS = {
    "MobileNetV2": (-1, 1),
    "MobileNetV3Small": (0, 255),
    "ResNet50": (-128, 128),
    "ResNet50V2": (-1, 1),
    "MobileNet": (-1, 1),
    "MobileNetV3Large": (0, 255),
    "EfficientNetB0": (0, 255),
    "EfficientNetV2B0": (0, 255),
    "DenseNet121": (-2, 2),
    "VGG16": (-128, 128),
    "Xception": (-1, 1),
    "InceptionV3": (-1, 1),
}
slow = pytest.mark.slow


def images(*shape, low=0.0, high=1.0):
    return np.random.default_rng(0).uniform(low, high, shape).astype("float32")


def randomize(model, x):
    """Random weights and statistics, near those of `x`, at which no map is constant."""
    normalizations = [
        layer for layer in layers_inside(model) if isinstance(layer, layers.BatchNormalization)
    ]
    for layer in normalizations:
        layer.momentum = 0.0
    model(x, training=True)
    random = np.random.default_rng(0)
    for layer in normalizations:
        layer.momentum = 0.99
        for weight in layer.weights:
            value = ops.convert_to_numpy(weight) * random.uniform(0.8, 1.2, weight.shape)
            weight.assign(value + random.normal(0, 0.1, weight.shape) ** 2)
    return model


def network(*stack, size=(9, 8), name=None):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((*size, 3)), *stack], name=name)


def difference(model, other, x):
    """The largest difference of two models' outputs, relative to the largest output."""
    expected, got = (ops.convert_to_numpy(each(x, training=False)) for each in (model, other))
    assert got.shape == expected.shape
    return np.abs(got - expected).max() / np.abs(expected).max()


def blurs(model):
    inside = [blurs(layer) for layer in model.layers if graph_inputs(layer)]
    own = [layer.name for layer in model.layers if isinstance(layer, BlurPool2D)]
    return sum(inside, own)


@pytest.mark.parametrize(
    "name",
    [
        "MobileNetV2",
        *(
            # On the other backends they only take longer.
            pytest.param(name, marks=[slow, pytest.mark.tensorflow])
            for name in NETWORKS
            if name != "MobileNetV2"
        ),
    ],
)
def test_without_a_blur_the_networks_of_keras_compute_the_same(name):
    worst = 0.0
    for size in ((64, 77),) if name == "MobileNetV2" else ((96, 77), (75, 84)):
        keras.utils.set_random_seed(0)
        build = getattr(keras.applications, name)
        small = {"alpha": 0.35} if name == "MobileNetV2" else {}
        model = build(input_shape=(*size, 3), weights=None, include_top=False, **small)
        low, high = NETWORKS[name]
        x = images(2, *size, 3, low=low, high=high)
        randomize(model, x)
        plain = antialias(model, kernel_size=1)
        assert not any(max(layer.strides) > 1 for layer in plain.layers if has_window(layer))
        assert len(blurs(plain)) >= 5
        worst = max(worst, difference(model, plain, x))
        blurred = antialias(model, padding="replicate")  # whose last maps are small
        assert difference(model, blurred, x) > 0.05
    print(f"| {name} | {worst:.1e} |")
    assert worst < 1e-4


OWN = {
    "resnet": lambda: kg.models.resnet(18, (32, 35, 3), 5, width=4, stem="imagenet"),
    "resnet50": lambda: kg.models.resnet(50, (None, None, 3), 5, width=4, stem="imagenet"),
    "gapnet": lambda: kg.models.gapnet((33, 34, 3), 9, width=4),
    "deeplabv3": lambda: kg.models.deeplabv3((32, 35, 3), 4, depth=18, width=4),
}


@pytest.mark.parametrize(
    "name", ["resnet", *(pytest.param(name, marks=slow) for name in OWN if name != "resnet")]
)
def test_without_a_blur_the_packages_own_networks_compute_the_same(name):
    keras.utils.set_random_seed(0)
    model = OWN[name]()
    x = images(2, *(n or 35 for n in model.input_shape[1:3]), 3)
    assert difference(model, antialias(randomize(model, x), kernel_size=1), x) < 1e-4


@pytest.mark.parametrize("taps", [3, pytest.param(4, marks=slow)])
def test_a_converted_resnet_is_the_resnet_that_is_built_with_blurs(taps):
    model, blurred = (
        kg.models.resnet(18, (32, 32, 3), 5, width=4, downsampling=kind, blur_kernel=kernel)
        for kind, kernel in (("stride", None), ("blur", taps))
    )
    x = images(2, 32, 32, 3)
    randomize(model, x)
    blurred.set_weights(model.get_weights())
    assert difference(blurred, antialias(model, taps), x) < 1e-5


LAYERS = {
    "conv": lambda k, s, p: layers.Conv2D(4, k, s, padding=p, activation="relu", name="layer"),
    "depthwise": lambda k, s, p: layers.DepthwiseConv2D(k, s, padding=p, name="layer"),
    "separable": lambda k, s, p: layers.SeparableConv2D(4, k, s, padding=p, name="layer"),
    "max": lambda k, s, p: layers.MaxPooling2D(k, s, padding=p, name="layer"),
    "average": lambda k, s, p: layers.AveragePooling2D(k, s, padding=p, name="layer"),
}


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kind", LAYERS)
def test_each_layer_keeps_its_grid_whatever_its_window_and_the_maps_size(kind, padding):
    square = kind in ("depthwise", "separable")  # TensorFlow takes only these
    cases = [(1, 2), (2, 2), (3, 2), (4, 3), (2, 3)]
    cases += [] if square else [((3, 2), (2, 1)), ((1, 5), (3, 2))]
    for window, strides in cases:
        inputs = keras.Input((None, None, 3))  # its size is not known
        keras.utils.set_random_seed(0)
        model = keras.Model(inputs, LAYERS[kind](window, strides, padding)(inputs))
        plain = antialias(model, kernel_size=1, patches=True)
        for size in ((8, 9), (7, 8)):
            expected, got = model(images(2, *size, 3)), plain(images(2, *size, 3))
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
        known = antialias(network(LAYERS[kind](window, strides, padding)), 3, patches=True)
        assert known.output_shape[1:] == tuple(model(images(1, 9, 8, 3)).shape[1:])


@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize("padding", [1, ((0, 1), (0, 1)), ((1, 1), (0, 1)), ((2, 0), (1, 3))])
def test_padding_layers_before_it_count(padding, mode):
    pad = layers.ZeroPadding2D(padding, name="pad")
    if mode == "circular":
        pad = Pad2D(padding, mode, name="pad")
    stack = [pad, layers.Conv2D(4, 3, 2, name="conv")]
    for size in ((9, 8), (8, 8), (7, 9)):
        model = network(*stack, size=size)
        assert difference(model, antialias(model, 1), images(2, *size, 3)) < 1e-6
    # An even map that is padded as "same" would: the blur sees its border where it was.
    smooth = antialias(network(*stack, size=(8, 8)))
    kept = padding == ((0, 1), (0, 1))
    assert smooth.get_layer("pad").padding == (((1, 1), (1, 1)) if kept else stack[0].padding)
    assert smooth.get_layer("conv_blur").window == ((3, 3) if kept else None)


def test_a_blurred_ramp_stays_a_ramp():
    ramp = np.tile(np.arange(16, dtype="float32"), (1, 16, 1))[..., None]
    for stack in ([layers.AveragePooling2D(3, 2, "same")], [layers.MaxPooling2D(1, 2)]):
        model = keras.Sequential([keras.Input((16, 16, 1)), *stack])
        expected, got = (ops.convert_to_numpy(m(ramp)) for m in (model, antialias(model, 3)))
        np.testing.assert_allclose(got[:, :, 1:-1], expected[:, :, 1:-1], rtol=1e-5)


def placed():
    x = inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, 2, padding="same", name="a")(x)
    x = layers.LeakyReLU(name="a_relu")(layers.BatchNormalization(name="a_norm")(x))
    x = layers.Dropout(0.1, name="drop")(x)
    short = layers.Conv2D(4, 1, 2, name="b")(x)
    x = layers.DepthwiseConv2D(3, 2, padding="same", name="c")(x)
    x = layers.LayerNormalization(name="c_norm")(x)
    y = layers.Activation("gelu", name="c_gelu")(x)
    z = layers.GroupNormalization(2, name="c_group")(x)
    x = layers.Add(name="sum")([short, y, z])
    x = layers.MaxPooling2D(2, name="d")(x)
    return keras.Model(inputs, layers.ReLU(name="d_relu")(x))


def test_the_blur_is_placed_behind_normalization_and_activation_and_before_a_1x1_convolution():
    model = antialias(placed())
    reads = {name: model.get_layer(f"{name}_blur").input for name in "abcd"}
    assert reads["a"] is model.get_layer("a_relu").output
    assert reads["b"] is model.get_layer("drop").output
    assert model.get_layer("b").input is model.get_layer("b_blur").output
    assert reads["c"] is model.get_layer("c_norm").output  # which two layers read
    assert reads["d"] is model.get_layer("d").output
    assert model.get_layer("d_relu").input is model.get_layer("d_blur").output


def nested():
    """A backbone that is called twice, inside of a Sequential inside of a model."""
    stack = [layers.Conv2D(3, 3, 2, padding="same"), layers.BatchNormalization(), layers.ReLU()]
    backbone = network(*stack, layers.MaxPooling2D(2, 2, "same", name="pool"), name="backbone")
    middle = keras.Sequential([keras.Input((9, 8, 3)), backbone], name="middle")
    inputs = {side: keras.Input((9, 8, 3), name=side) for side in ("left", "right")}
    twins = [middle(ops.multiply(inputs[side], 0.1)) for side in ("left", "right")]
    x = layers.Concatenate()(twins)
    return keras.Model(inputs, {"map": x, "mean": layers.GlobalAveragePooling2D()(x)}, name="net")


def test_nested_models_are_converted_too(tmp_path):
    model = nested()
    x = {"left": images(2, 9, 8, 3), "right": images(3, 9, 8, 3)[1:]}
    expected = model(x)
    for name, values in antialias(model, 1)(x).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6)
    smooth = antialias(model, 2)
    assert smooth.name == "net" and len(blurs(smooth)) == 2
    outputs = smooth(x)
    assert np.abs(ops.convert_to_numpy(outputs["map"] - expected["map"])).max() > 1e-3
    smooth.save(tmp_path / "smooth.keras")
    loaded = keras.saving.load_model(tmp_path / "smooth.keras")
    for name, values in loaded(x).items():
        np.testing.assert_allclose(values, outputs[name], rtol=1e-6)


def test_weights_are_copies_and_the_model_stays_as_it_is():
    pixels = layers.Normalization(name="pixels")
    pixels.adapt(images(4, 9, 8, 3) * 3)
    conv = layers.Conv2D(4, 3, 2, padding="same", name="conv")
    model = network(pixels, conv, layers.BatchNormalization(name="norm", trainable=False))
    config, weights = model.get_config(), model.get_weights()
    smooth = antialias(model, 1)
    assert difference(model, smooth, images(2, 9, 8, 3)) < 1e-6
    assert [w.name for w in smooth.weights] == [w.name for w in model.weights]
    assert not {id(w) for w in smooth.weights} & {id(w) for w in model.weights}
    assert not smooth.get_layer("norm").trainable and smooth.get_layer("conv").trainable
    smooth.get_layer("conv").bias.assign([1.0, 2.0, 3.0, 4.0])
    assert model.get_config() == config
    for old, new in zip(weights, model.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_a_layer_without_weights_need_not_be_made_from_its_configuration():
    model = network(layers.Lambda(lambda x: 2 * x), layers.Conv2D(4, 3, 2, name="conv"))
    assert difference(model, antialias(model, 1), images(2, 9, 8, 3)) < 1e-6


def test_patch_embeddings_and_skipped_layers_stay_unless_asked_for():
    model = network(layers.Conv2D(4, 2, 2, name="patch"), layers.MaxPooling2D(2, name="pool"))
    assert blurs(antialias(model)) == ["pool_blur"]
    assert blurs(antialias(model, patches=True)) == ["patch_blur", "pool_blur"]
    assert blurs(antialias(model, patches=True, skip=["pool"])) == ["patch_blur"]
    with pytest.raises(ValueError, match=r"must have a convolution or pool.*'patch'.*skip=\['pool"):
        antialias(model, skip=["pool"])


@slow
def test_a_convnext_is_left_alone():
    convnext = keras.applications.ConvNeXtTiny(
        input_shape=(32, 32, 3), weights=None, include_top=False
    )
    with pytest.raises(ValueError, match=r"must have a convolution or pool .* patches=False"):
        antialias(convnext)


@pytest.mark.tensorflow
def test_an_anti_aliased_network_exports(tmp_path):
    import tensorflow as tf

    inputs = keras.Input((None, None, 3))
    conv = layers.Conv2D(4, 3, 2, padding="same", activation="relu", name="conv")
    smooth = antialias(keras.Model(inputs, conv(inputs)))
    smooth.export(tmp_path, verbose=False)
    loaded = tf.saved_model.load(str(tmp_path))  # which owns the weights
    for size in ((8, 9), (7, 6)):
        x = images(2, *size, 3)
        np.testing.assert_allclose(loaded.serve(x), smooth(x), rtol=1e-5, atol=1e-6)


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stages = [layers.Conv2D(3, 3, name="inner_conv"), layers.MaxPooling2D(name="inner")]

    def call(self, inputs):
        for stage in self.stages:
            inputs = stage(inputs)
        return inputs


class NoConfig(layers.Layer):
    def __init__(self, factor):
        super().__init__(name="no_config")
        self.factor = self.add_weight((), "ones")

    def call(self, inputs):
        return inputs * self.factor

    def get_config(self):
        raise NotImplementedError("no `get_config`")


def called_twice():
    pool = layers.MaxPooling2D(name="pool")
    inputs = keras.Input((9, 8, 3))
    return keras.Model(inputs, pool(pool(inputs)))


def two_places():
    conv = layers.Conv2D(3, 3, 2, name="conv")
    inputs = keras.Input((9, 8, 3))
    inner = keras.Sequential([keras.Input((9, 8, 3)), conv])
    return keras.Model(inputs, [inner(inputs), conv(inputs)])


def channels_first():
    inputs = keras.Input((3, 9, 8))
    pool = layers.AveragePooling2D(2, data_format="channels_first", name="pool")
    return keras.Model(inputs, pool(inputs))


def pooled():
    return network(layers.MaxPooling2D(name="pool"), layers.MaxPooling2D(name="deep"))


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (lambda: Subclassed(), {}, r"`model` must be a Functional or Sequential .* its inputs"),
        (lambda: keras.Sequential([layers.MaxPooling2D()]), {}, "that knows its inputs"),
        (
            lambda: network(Subclassed(name="body")),
            {},
            r"'body', a Subclassed that contains \['inner'\].*skip=\['body'\]",
        ),
        (
            lambda: network(layers.TimeDistributed(layers.MaxPooling2D(name="m")), size=(2, 8, 8)),
            {},
            r"a TimeDistributed that contains \['m'\]",
        ),
        (lambda: network(NoConfig(2.0), layers.MaxPooling2D()), {}, "'no_config', a NoConfig"),
        (called_twice, {}, r"'pool', which is called 2 times.*skip=\['pool'\]"),
        (two_places, {}, r"'conv', which is called 2 times"),
        (channels_first, {}, r"channels last.*'pool', which has data_format=.channels_first"),
        (pooled, {"kernel_size": 7}, r"(?s)'deep_blur' reflects.*Received: 3x3.*padding='repli"),
        (pooled, {"kernel_size": 8}, r"`kernel_size` must be .*kernel_size=8"),
        (pooled, {"padding": "mirror"}, r"`padding` must be one of .*'mirror'"),
        (pooled, {"skip": ["pol"]}, r"`skip` must be one of \('pool', 'deep'\).*mean 'pool'"),
    ],
)
def test_what_cannot_be_converted_is_named(build, arguments, message):
    with pytest.raises(ValueError, match=message):
        antialias(build(), **arguments)


def test_other_paddings_take_small_maps():
    model = network(layers.MaxPooling2D(), size=(3, 3))
    assert antialias(model, 7, padding="replicate").output_shape == (None, 1, 1, 3)
