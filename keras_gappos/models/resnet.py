"""ResNets with named layers and PyTorch-compatible weights."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from keras_gappos.arguments import integer, one_of
from keras_gappos.layers import AdaptivePolyphasePool2D, BlurPool2D
from keras_gappos.layers.data_format import require_channels_last

# depth -> (blocks in each stage, kind of block)
DEPTHS = {
    18: ((2, 2, 2, 2), "basic"),
    34: ((3, 4, 6, 3), "basic"),
    50: ((3, 4, 6, 3), "bottleneck"),
}
# stem -> (kernel size, stride, whether a max pool of stride 2 follows)
STEMS = {"cifar": (3, 1, False), "canvas": (7, 2, False), "imagenet": (7, 2, True)}
DOWNSAMPLINGS = ("stride", "blur", "polyphase")
PLACES = ("stem", "stage1", "stage2", "stage3", "stage4", "pool")


def resnet(
    depth: int,
    input_shape: Sequence[int | None],
    num_classes: int,
    width: int = 64,
    stem: str = "cifar",
    downsampling: str = "stride",
) -> keras.Model:
    """Builds a ResNet classifier.

    Args:
        depth: 18, 34 (basic blocks) or 50 (bottleneck blocks, the stride in the 3x3 convolution).
        input_shape: `(height, width, channels)`; height and width may be `None`.
        num_classes: number of logits, at least 1.
        width: channels of the first stage, at least 1; 64 is the standard network.
        stem: `"cifar"`: 3x3 convolution, stride 1; `"canvas"`: 7x7, stride 2 (the paper's);
            `"imagenet"`: 7x7, stride 2, then a 3x3 max pool of stride 2.
        downsampling: how the max pool and the stages halve the feature map. `"stride"`: with
            strides; `"blur"`: with a `BlurPool2D` after a 2x2 max pool or stride-1 convolution;
            `"polyphase"`: with an `AdaptivePolyphasePool2D` there, the shortcut on the main path's
            grid. The stem's convolution keeps its stride. The weights of all three have the same
            order, names and shapes.

    Returns:
        A Functional `keras.Model` from images `(batch, height, width, channels)` to logits
        `(batch, num_classes)`. The globally pooled vector is its layer `"latent"`.

    Raises:
        ValueError: for an invalid argument; with "blur", for images so small that a map to halve is
            below 3x3.

    Padding is symmetric, as in PyTorch: 1 pixel on each side for 3x3 kernels, 3 for 7x7. It is with
    zeros, so "polyphase" is invariant to circular shifts only where its convolutions do not reach
    the border.

    Example:
        >>> model = keras_gappos.models.resnet(18, (32, 32, 3), num_classes=10, width=16)
        >>> model.output_shape
        (None, 10)

    Source: He et al., arXiv 1512.03385; "blur": Zhang, arXiv 1904.11486; "polyphase": Chaman and
    Dokmanic, arXiv 2011.14214.
    """
    num_classes = integer("num_classes", num_classes, 1)
    inputs, features = backbone(depth, input_shape, width, stem, downsampling)
    latent = layers.GlobalAveragePooling2D(data_format="channels_last", name="latent")(features)
    outputs = layers.Dense(num_classes, dtype="float32", name="logits")(latent)
    return keras.Model(inputs, outputs, name=f"resnet{depth}")


def backbone(
    depth: int,
    input_shape: Sequence[int | None],
    width: int,
    stem: str,
    downsampling: str = "stride",
    inserts: dict[str, keras.layers.Layer] | None = None,
    output_stride: int | None = None,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Builds a ResNet up to its last feature map.

    Args:
        depth, input_shape, width, stem, downsampling: as in `resnet`.
        inserts: dictionary from a place, `"stem"` or `"stage1"` to `"stage4"`, to a layer to apply
            to its output.
        output_stride: image pixels per feature pixel along each axis: a power of 2 from the stem's
            stride to 8 times that, the default. Stages that would exceed it do not halve the map;
            the 3x3 convolutions after the removed stride are dilated instead. With the same
            weights, every second (or fourth, ...) pixel of the features equals a pixel of the
            network with strides.

    Returns:
        `(inputs, features)`, two Keras tensors; features are `(batch, h, w, channels)`.

    Raises:
        ValueError: for an invalid argument.
    """
    _check(depth, input_shape, stem, downsampling)
    width = integer("width", width, 1)
    inserts = inserts or {}
    dilations = _dilations(stem, output_stride)
    blocks, kind = DEPTHS[depth]
    block = {"basic": _basic_block, "bottleneck": _bottleneck_block}[kind]

    inputs = keras.Input(input_shape, name="images")
    x = _apply(inserts.get("stem"), _stem(inputs, width, stem, downsampling))
    dilation = 1
    for stage, count in enumerate(blocks, start=1):
        before, dilation = dilation, dilations[stage - 1]
        halve = downsampling if stage > 1 and dilation == before else None
        for index in range(1, count + 1):
            x = block(
                x,
                width * 2 ** (stage - 1),
                halve if index == 1 else None,
                (before if index == 1 else dilation, dilation),
                f"stage{stage}_block{index}_",
            )
        x = _apply(inserts.get(f"stage{stage}"), x)
    return inputs, x


def _dilations(stem, output_stride):
    """The dilation of each of the four stages."""
    _, stride, max_pool = STEMS[stem]
    strides = [stride * (2 if max_pool else 1) * 2**stage for stage in range(4)]
    if output_stride is None:
        output_stride = strides[-1]
    if output_stride not in strides:
        raise ValueError(
            f"`output_stride` must be one of {strides} for stem={stem!r}. "
            f"Received: output_stride={output_stride!r}"
        )
    return [max(1, stride // output_stride) for stride in strides]


def _stem(x, width, stem, downsampling):
    kernel_size, strides, max_pool = STEMS[stem]
    x = conv(x, width, kernel_size, strides, "stem_conv")
    x = batch_norm(x, "stem_bn")
    x = layers.ReLU(name="stem_relu")(x)
    return _max_pool(x, downsampling) if max_pool else x


def _max_pool(x, downsampling):
    if downsampling == "stride":
        # Padding with zeros is safe: after a ReLU, nothing is negative.
        x = layers.ZeroPadding2D(1, data_format="channels_last", name="stem_pool_pad")(x)
        return layers.MaxPooling2D(3, 2, data_format="channels_last", name="stem_pool")(x)
    # As in the authors' code: Zhang's max pool is not padded and drops a row and a column before
    # the blur; Chaman and Dokmanic's keeps the size, which invariance to circular shifts requires.
    padding = "valid" if downsampling == "blur" else "same"
    x = layers.MaxPooling2D(2, 1, padding, data_format="channels_last", name="stem_pool")(x)
    return _pool(x, x, downsampling, "stem_")


def _basic_block(x, channels, halve, dilations, name):
    y = conv(x, channels, 3, _strides(halve), f"{name}conv1", dilations[0])
    y = batch_norm(y, f"{name}bn1")
    y = grid = layers.ReLU(name=f"{name}relu1")(y)
    y = _pool(y, grid, halve, name)
    y = conv(y, channels, 3, 1, f"{name}conv2", dilations[1])
    y = batch_norm(y, f"{name}bn2")
    y = layers.Add(name=f"{name}add")([y, _shortcut(x, channels, halve, grid, name)])
    return layers.ReLU(name=f"{name}relu2")(y)


def _bottleneck_block(x, channels, halve, dilations, name):
    y = conv(x, channels, 1, 1, f"{name}conv1")
    y = batch_norm(y, f"{name}bn1")
    y = layers.ReLU(name=f"{name}relu1")(y)
    y = conv(y, channels, 3, _strides(halve), f"{name}conv2", dilations[0])
    y = batch_norm(y, f"{name}bn2")
    y = grid = layers.ReLU(name=f"{name}relu2")(y)
    y = _pool(y, grid, halve, name)
    y = conv(y, 4 * channels, 1, 1, f"{name}conv3")
    y = batch_norm(y, f"{name}bn3")
    y = layers.Add(name=f"{name}add")([y, _shortcut(x, 4 * channels, halve, grid, name)])
    return layers.ReLU(name=f"{name}relu3")(y)


def _shortcut(x, channels, halve, grid, name):
    if not halve and x.shape[-1] == channels:
        return x
    if halve == "stride":
        # Equal to a 1x1 convolution of stride 2, whose gradient corrupts the heap on TensorFlow
        # 2.21's CPU (oneDNN) for some batch sizes.
        pick = layers.AveragePooling2D(
            1, 2, data_format="channels_last", name=f"{name}shortcut_pick"
        )
        x = pick(x)
    x = _pool(x, grid, halve, f"{name}shortcut_")
    x = conv(x, channels, 1, 1, f"{name}shortcut_conv")
    return batch_norm(x, f"{name}shortcut_bn")


def _strides(halve):
    return 2 if halve == "stride" else 1


def _pool(x, grid, halve, name):
    """Halves `x` unless a stride does; "polyphase" chooses its grid by the norms in `grid`."""
    if halve == "blur":
        return BlurPool2D(name=f"{name}blur")(x)
    if halve == "polyphase":
        return AdaptivePolyphasePool2D(name=f"{name}polyphase")(x, reference=grid)
    return x


def conv(
    x: keras.KerasTensor,
    channels: int,
    kernel_size: int,
    strides: int,
    name: str,
    dilation: int = 1,
) -> keras.KerasTensor:
    """A convolution without bias, padded as in PyTorch; `strides` or `dilation` must be 1."""
    padding = "same"
    if strides > 1 and kernel_size > 1:
        # "same" would pad an even-sized map on one side only; PyTorch pads both.
        pad = layers.ZeroPadding2D(
            kernel_size // 2, data_format="channels_last", name=f"{name}_pad"
        )
        x, padding = pad(x), "valid"
    return layers.Conv2D(
        channels,
        kernel_size,
        strides,
        padding,
        data_format="channels_last",
        dilation_rate=dilation,
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """A batch normalization with PyTorch's momentum and epsilon."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def _apply(layer, x):
    return x if layer is None else layer(x)


def _check(depth, input_shape, stem, downsampling):
    require_channels_last("keras_gappos.models")
    one_of("depth", depth, DEPTHS)
    if not isinstance(input_shape, (tuple, list)) or len(input_shape) != 3 or not input_shape[-1]:
        raise ValueError(
            "`input_shape` must be (height, width, channels), the channels known. "
            f"Received: input_shape={input_shape!r}"
        )
    one_of("stem", stem, STEMS)
    one_of("downsampling", downsampling, DOWNSAMPLINGS)
