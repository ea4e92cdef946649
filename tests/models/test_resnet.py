import functools

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy.signal import correlate2d

from keras_gappos.models import deeplabv3, gapnet, permutenet, resnet
from tests.layers.test_adaptive_polyphase_pool import polyphase_pool
from tests.layers.test_blur_pool import blur_pool

BORDERS = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def halve(x, grid, downsampling, padding, blur_kernel):
    """How "blur" and "polyphase" halve a map, the second by its norms on a grid."""
    border = "reflect" if padding == "zeros" else padding
    if downsampling == "blur":
        return blur_pool(x, blur_kernel or 4, padding=border)
    x, grid = (blur_pool(maps, blur_kernel or 1, 1, border) for maps in (x, grid))
    return polyphase_pool(x, grid)


def randomized(model, seed=0):
    """The model with other BatchNorm statistics, gains and offsets than those at the start."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return model


def images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def outputs_of(model, names, inputs):
    outputs = [model.get_layer(name).output for name in names]
    results = keras.Model(model.input, outputs)(inputs)
    return [ops.convert_to_numpy(result) for result in results]


class PyTorchResNet:
    """What PyTorch computes, in NumPy and SciPy, from the weights of a model of ours.

    Where there is a `downsampling` other than "stride": what its authors put in PyTorch.
    """

    def __init__(self, model, downsampling="stride", padding="zeros", blur_kernel=None):
        self.model = model
        self.downsampling = downsampling
        self.padding = padding
        self.pool = None
        if downsampling != "stride":
            self.pool = functools.partial(
                halve, downsampling=downsampling, padding=padding, blur_kernel=blur_kernel
            )

    def conv(self, x, name, stride=1, padding=0):
        (kernel,) = self.model.get_layer(name).get_weights()
        sides = (padding, padding)
        x = np.pad(x, ((0, 0), sides, sides, (0, 0)), BORDERS[self.padding])
        images = [
            np.stack(
                [
                    sum(
                        correlate2d(image[..., i], kernel[..., i, o], mode="valid")
                        for i in range(kernel.shape[2])
                    )
                    for o in range(kernel.shape[3])
                ],
                axis=-1,
            )
            for image in x
        ]
        return np.stack(images)[:, ::stride, ::stride]

    def batch_norm(self, x, name):
        gain, offset, mean, variance = self.model.get_layer(name).get_weights()
        return (x - mean) / np.sqrt(variance + 1e-5) * gain + offset

    def stem(self, x, stem):
        stride, padding = (1, 1) if stem == "cifar" else (2, 3)
        x = self.conv(x, "stem_conv", stride, padding)
        x = np.maximum(self.batch_norm(x, "stem_bn"), 0)
        return self.max_pool(x) if stem == "imagenet" else x

    def max_pool(self, x):
        # Size, stride and padding before and after: 3, 2, (1, 1) or with a pool behind 2, 1 and
        # Zhang's none (but circular) or as many as keep the size.
        sides = {"stride": (1, 1), "blur": (0, 0), "polyphase": (0, 1)}[self.downsampling]
        sides = (0, 1) if self.pool and self.padding == "circular" else sides
        size, stride = (2, 1) if self.pool else (3, 2)
        fill = {"constant_values": -np.inf} if self.padding == "zeros" else {}
        x = np.pad(x, ((0, 0), sides, sides, (0, 0)), BORDERS[self.padding], **fill)
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
        x = windows[:, ::stride, ::stride].max((-2, -1))
        return self.pool(x, x) if self.pool else x

    def block(self, x, name, stride, kernels):
        """A residual block; `kernels` are the sizes of its convolutions."""
        y = x
        for i, size in enumerate(kernels, start=1):
            # Where there are bottlenecks the 3x3 convolution has the stride, otherwise the first.
            here = stride if size == 3 and i == kernels.index(3) + 1 else 1
            step = 1 if self.pool else here
            y = self.batch_norm(self.conv(y, f"{name}_conv{i}", step, size // 2), f"{name}_bn{i}")
            if i < len(kernels):
                y = np.maximum(y, 0)
            if self.pool and here == 2:
                x, y, stride = self.pool(x, y), self.pool(y, y), 1
        if y.shape != x.shape:
            x = self.conv(x, f"{name}_shortcut_conv", stride)
            x = self.batch_norm(x, f"{name}_shortcut_bn")
        return np.maximum(x + y, 0)

    def logits(self, x, stem, blocks, kernels):
        x = self.stem(x, stem)
        for stage, count in enumerate(blocks, start=1):
            for index in range(1, count + 1):
                stride = 2 if stage > 1 and index == 1 else 1
                x = self.block(x, f"stage{stage}_block{index}", stride, kernels)
        kernel, bias = self.model.get_layer("logits").get_weights()
        return x.mean((1, 2)) @ kernel + bias


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())


@pytest.mark.parametrize("size", [(8, 10), (7, 9)])
def test_strided_convolutions_pad_as_pytorch_does(size):
    model = randomized(resnet(18, (*size, 3), 5, width=4, stem="canvas"))
    x = images(2, *size, 3)
    names = ["stem_conv", "stage1_block2_relu2", "stage2_block1_conv1"]
    stem, features, halved = outputs_of(model, names, x)
    reference = PyTorchResNet(model)
    assert_close(stem, reference.conv(x, "stem_conv", stride=2, padding=3))
    assert_close(halved, reference.conv(features, "stage2_block1_conv1", stride=2, padding=1))


@pytest.mark.parametrize("size", [(8, 10), (7, 9)])
def test_shortcut_and_block_equal_those_of_pytorch(size):
    model = randomized(resnet(18, (*size, 3), 5, width=4))
    names = ["stage1_block2_relu2", "stage2_block1_shortcut_conv", "stage2_block1_relu2"]
    features, shortcut, block = outputs_of(model, names, images(2, *size, 3))
    reference = PyTorchResNet(model)
    assert_close(shortcut, reference.conv(features, "stage2_block1_shortcut_conv", stride=2))
    assert_close(block, reference.block(features, "stage2_block1", 2, kernels=(3, 3)))


@pytest.mark.parametrize(
    "depth, blocks, kernels, stem",
    [
        (18, (2, 2, 2, 2), (3, 3), "imagenet"),
        (18, (2, 2, 2, 2), (3, 3), "cifar"),
        (34, (3, 4, 6, 3), (3, 3), "canvas"),
        (50, (3, 4, 6, 3), (1, 3, 1), "imagenet"),
    ],
)
def test_whole_network_equals_that_of_pytorch(depth, blocks, kernels, stem):
    model = randomized(resnet(depth, (19, 24, 3), 5, width=2, stem=stem))
    x = images(1, 19, 24, 3)
    expected = PyTorchResNet(model).logits(x, stem, blocks, kernels)
    assert_close(ops.convert_to_numpy(model(x)), expected)


@pytest.mark.parametrize("downsampling", ["blur", "polyphase"])
def test_pools_halve_a_bottleneck_where_their_authors_put_them(downsampling):
    model = randomized(resnet(50, (12, 17, 3), 5, width=2, downsampling=downsampling))
    names = ["stage1_block3_relu3", "stage2_block1_relu3"]
    features, block = outputs_of(model, names, images(2, 12, 17, 3))
    reference = PyTorchResNet(model, downsampling)
    assert_close(block, reference.block(features, "stage2_block1", 2, kernels=(1, 3, 1)))


@pytest.mark.parametrize("downsampling", ["blur", "polyphase"])
def test_whole_network_equals_that_of_the_authors(downsampling):
    model = resnet(18, (38, 45, 3), 5, width=2, stem="imagenet", downsampling=downsampling)
    x = images(1, 38, 45, 3)
    reference = PyTorchResNet(randomized(model), downsampling)
    expected = reference.logits(x, "imagenet", (2, 2, 2, 2), kernels=(3, 3))
    assert_close(ops.convert_to_numpy(model(x)), expected)


@pytest.mark.parametrize(
    "downsampling, padding, blur_kernel",
    [
        ("stride", "circular", None),
        ("stride", "reflect", None),
        ("blur", "circular", 5),
        ("blur", "replicate", 3),
        ("polyphase", "circular", None),
        ("polyphase", "circular", 3),
        ("polyphase", "reflect", 2),
        ("polyphase", "zeros", 3),
    ],
)
def test_everything_pads_and_blurs_as_asked(downsampling, padding, blur_kernel):
    how = (downsampling, padding, blur_kernel)
    model = randomized(resnet(18, (38, 45, 3), 5, 2, "imagenet", *how))
    x = images(1, 38, 45, 3)
    reference = PyTorchResNet(model, *how)
    expected = reference.logits(x, "imagenet", (2, 2, 2, 2), kernels=(3, 3))
    assert_close(ops.convert_to_numpy(model(x)), expected)


@functools.cache
def narrow(depth, stem, downsampling):
    return resnet(depth, (224, 160, 3), 5, 2, stem, downsampling)


def weights_of(model, without=()):
    others = {id(weight) for layer in without for weight in layer.weights}
    return [(w.path, tuple(w.shape), w.dtype) for w in model.weights if id(w) not in others]


@pytest.mark.parametrize(
    "build",
    [
        lambda **k: resnet(18, (32, 32, 3), 5, width=2, **k),
        lambda **k: resnet(50, (64, 64, 3), 5, 2, "imagenet", "polyphase", **k),
        lambda **k: resnet(18, (64, 64, 3), 5, 2, "imagenet", "blur", **k),
        lambda **k: gapnet((32, 32, 3), 5, width=2, **k),
        lambda **k: permutenet((32, 32, 3), 5, width=2, mode="fixed", **k),
        lambda **k: deeplabv3((None, None, 3), 5, 18, 2, **k),
    ],
)
def test_all_paddings_have_the_same_weights_and_no_other_padding(build):
    expected = weights_of(build())
    for padding in ("reflect", "circular"):
        model = build(padding=padding)
        assert weights_of(model) == expected
        configs = [layer.get_config() for layer in model.layers]
        wide = [config for config in configs if config.get("kernel_size", 1) not in (1, (1, 1))]
        assert {config["padding"] for config in wide} <= {"valid", padding}
        assert {config["mode"] for config in configs if "_pad" in config["name"]} == {padding}


def test_a_blur_before_the_polyphase_pool_adds_no_weights():
    model = resnet(50, (64, 64, 3), 5, 2, "imagenet", "polyphase", blur_kernel=5)
    assert weights_of(model) == weights_of(narrow(50, "imagenet", "polyphase"))


@pytest.mark.parametrize("depth, stem", [(18, "cifar"), (50, "imagenet")])
def test_all_downsamplings_have_the_same_weights_and_sizes(depth, stem):
    models = [narrow(depth, stem, how) for how in ("stride", "blur", "polyphase")]
    ends = ["stage1_block1_add", "stage2_block1_add", "stage3_block1_add", "stage4_block1_add"]
    stride, blur, polyphase = (
        (
            weights_of(model),
            [model.get_layer(name).output.shape for name in ends],
        )
        for model in models
    )
    assert stride == blur == polyphase


@pytest.mark.parametrize("downsampling", ["blur", "polyphase"])
@pytest.mark.parametrize("depth, stem", [(18, "cifar"), (50, "imagenet")])
def test_pools_are_named_and_no_block_keeps_a_stride(depth, stem, downsampling):
    model = narrow(depth, stem, downsampling)
    blocks = [f"stage{stage}_block1_" for stage in (2, 3, 4)]
    pools = {
        *(f"{block}{downsampling}" for block in blocks),
        *(f"{block}shortcut_{downsampling}" for block in blocks),
    }
    if stem == "imagenet":
        pools.add(f"stem_{downsampling}")
    assert {layer.name for layer in model.layers if downsampling in layer.name} == pools
    strides = {layer.name: getattr(layer, "strides", 1) for layer in model.layers}
    strided = {name for name, value in strides.items() if value not in (1, (1, 1))}
    assert strided == (pools if stem == "cifar" else {*pools, "stem_conv"})


@pytest.mark.parametrize("depth, stem", [(18, "cifar"), (50, "imagenet")])
def test_one_learned_pool_halves_a_main_path_and_its_shortcut(depth, stem):
    model = resnet(depth, (64, 64, 3), 5, 2, stem, "learned_polyphase", "circular", 3)
    pools = [layer for layer in model.layers if "polyphase" in layer.name]
    blocks = [f"stage{stage}_block1_" for stage in (2, 3, 4)]
    where = blocks if stem == "cifar" else ["stem_", *blocks]
    assert [pool.name for pool in pools] == [f"{name}learned_polyphase" for name in where]
    assert weights_of(model, without=pools) == weights_of(narrow(depth, stem, "polyphase"))
    for name in blocks:
        for blur in (f"{name}blur", f"{name}shortcut_blur"):
            assert model.get_layer(blur).get_config()["padding"] == "circular"


@pytest.mark.parametrize(
    "depth, parameters", [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)]
)
def test_has_as_many_trainable_parameters_as_that_of_torchvision(depth, parameters):
    model = resnet(depth, (224, 224, 3), 1000, stem="imagenet")
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == parameters
    assert model.get_layer("latent").input.shape == (None, 7, 7, 2048 if depth == 50 else 512)


def test_layers_are_named_for_a_reader_of_the_summary():
    names = [layer.name for layer in resnet(34, (32, 32, 3), 10, width=4, stem="imagenet").layers]
    assert names[:7] == [
        *("images", "stem_conv_pad", "stem_conv", "stem_bn", "stem_relu"),
        *("stem_pool_pad", "stem_pool"),
    ]
    assert names[-2:] == ["latent", "logits"]
    assert {"stage3_block2_conv1", "stage3_block6_bn2", "stage4_block1_shortcut_conv"} < set(names)
    assert "stage3_block7_conv1" not in names
    assert {f"stage{stage}_block1_add" for stage in (1, 2, 3, 4)} < set(names)
    bottleneck = [layer.name for layer in resnet(50, (32, 32, 3), 10, width=4).layers]
    assert {"stage1_block1_shortcut_conv", "stage3_block6_conv3"} < set(bottleneck)


@pytest.mark.parametrize(
    "stem, size", [("cifar", (4, 4)), ("canvas", (2, 2)), ("imagenet", (1, 1))]
)
def test_the_stem_decides_how_far_the_network_halves(stem, size):
    latent = resnet(18, (32, 32, 3), 10, width=4, stem=stem).get_layer("latent")
    assert latent.input.shape == (None, *size, 32)


def test_batch_norm_has_the_settings_of_pytorch():
    model = resnet(50, (32, 32, 3), 10, width=4)
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    assert len(norms) == 1 + 3 * 16 + 4
    assert {(norm.momentum, norm.epsilon) for norm in norms} == {(0.9, 1e-5)}


@pytest.mark.parametrize(
    "build",
    [
        lambda: resnet(18, (32, 32, 3), 10, width=4),
        lambda: resnet(50, (32, 32, 3), 10, width=4, stem="imagenet"),
        lambda: gapnet((32, 32, 3), 9, width=4),
        lambda: permutenet((32, 32, 3), 9, width=4),
    ],
    ids=["resnet18", "resnet50", "gapnet", "permutenet"],
)
def test_no_convolution_is_1x1_with_stride_2(build):
    # Their gradient corrupts the heap on TensorFlow 2.21's CPU.
    strided = [
        layer.kernel_size
        for layer in build().layers
        if isinstance(layer, layers.Conv2D) and layer.strides != (1, 1)
    ]
    assert strided
    assert (1, 1) not in strided


def test_logits_are_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    model = resnet(18, (16, 16, 3), 10, width=4)
    assert model.get_layer("stage1_block1_conv1").compute_dtype == "float16"
    assert model.output.dtype == "float32"
    logits = ops.convert_to_numpy(model(images(2, 16, 16, 3)))
    assert np.isfinite(logits).all()
    assert logits.min() < 0  # no softmax


@pytest.mark.parametrize("downsampling", ["stride", "polyphase"])
def test_a_reloaded_model_has_equal_weights_and_outputs(downsampling, tmp_path):
    model = randomized(resnet(18, (16, 16, 3), 10, 4, "imagenet", downsampling))
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    for one, other in zip(model.get_weights(), reloaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    x = images(2, 16, 16, 3)
    np.testing.assert_allclose(model(x), reloaded(x), rtol=1e-6)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"downsampling": "learned_polyphase", "padding": "circular", "blur_kernel": 3}],
)
def test_a_model_of_unknown_size_equals_one_of_known_size(arguments):
    model = resnet(18, (None, None, 3), 10, width=4, **arguments)
    for size in [(16, 16), (17, 30)]:
        known = resnet(18, (*size, 3), 10, width=4, **arguments)
        known.set_weights(model.get_weights())
        x = images(2, *size, 3)
        np.testing.assert_allclose(model(x), known(x), rtol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"depth": 20}, r"`depth` must be one of \(18, 34, 50\). Received: depth=20"),
        ({"input_shape": (32, 32)}, r"`input_shape` must be \(height, .*input_shape=\(32, 32\)"),
        ({"input_shape": (32, 32, None)}, r"`input_shape` must be .*channels known.*None\)"),
        ({"num_classes": 0}, "`num_classes` must be an integer of at least 1.*num_classes=0"),
        ({"width": 0}, "`width` must be an integer of at least 1. Received: width=0"),
        ({"width": 4.5}, "`width` must be an integer of at least 1. Received: width=4.5"),
        ({"stem": "7x7"}, r"`stem` must be one of \('cifar', 'canvas', 'imagenet'\).*'7x7'"),
        (
            {"downsampling": "pool"},
            r"`downsampling` must be one of \('stride', 'blur', 'polyphase', 'learned_.*'pool'",
        ),
        (
            {"downsampling": "blur", "input_shape": (40, 8, 3)},
            r"'stage4_block1_blur' reflects .* at least 3x3 .* Received: 10x2. Give .* larger",
        ),
        ({"padding": "zero"}, r"`padding` must be one of .*'zero'. Did you mean 'zeros'\?"),
        (
            {"padding": "reflect", "input_shape": (40, 8, 3)},
            r"'stage4_block1_conv2_pad' reflects .* Received: 5x1 .*mode='replicate'",
        ),
        (
            {"blur_kernel": 3},
            "`blur_kernel` must be None for downsampling='stride'.* blur_kernel=3",
        ),
        (
            {"downsampling": "polyphase", "blur_kernel": 8},
            r"`blur_kernel` must be an integer in \[1, 8\).*blur_kernel=8",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    good = {"depth": 18, "input_shape": (32, 32, 3), "num_classes": 10, "width": 4}
    with pytest.raises(ValueError, match=f"(?s){message}"):
        resnet(**{**good, **arguments})


def test_a_number_that_numpy_counted_is_an_integer():
    classes = np.array([0, 9]).max() + 1
    assert resnet(18, (8, 8, 1), classes, width=2).output_shape == (None, 10)
