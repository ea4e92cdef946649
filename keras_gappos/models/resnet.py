"""ResNets with named layers and PyTorch-compatible weights."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from keras_gappos.arguments import integer, one_of
from keras_gappos.layers.data_format import require_channels_last
from keras_gappos.layers.pad import MODES as PADDINGS
from keras_gappos.models.blocks import Blocks

# depth -> (blocks in each stage, kind of block)
DEPTHS = {
    18: ((2, 2, 2, 2), "basic"),
    34: ((3, 4, 6, 3), "basic"),
    50: ((3, 4, 6, 3), "bottleneck"),
}
# stem -> (kernel size, stride, whether a max pool of stride 2 follows)
STEMS = {"cifar": (3, 1, False), "canvas": (7, 2, False), "imagenet": (7, 2, True)}
# downsampling -> taps of its blur by default; 1 is no blur
DOWNSAMPLINGS = {
    "stride": 1,
    "blur": 4,
    "polyphase": 1,
    "learned_polyphase": 1,
    "timm_blur": 3,
    "timm_average": 1,
}
_WITHOUT_BLUR = ("stride", "timm_average")
PLACES = ("stem", "stage1", "stage2", "stage3", "stage4", "pool")


def resnet(
    depth: int,
    input_shape: Sequence[int | None],
    num_classes: int,
    width: int = 64,
    stem: str = "cifar",
    downsampling: str = "stride",
    padding: str = "zeros",
    blur_kernel: int | None = None,
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
            grid; `"learned_polyphase"`: with a `LearnablePolyphasePool2D` instead, whose weights
            are the only ones by which the networks differ; `"timm_blur"` and `"timm_average"`: the
            main path alone with a `BlurPool2D` after a 3x3 max pool or stride-1 convolution, or
            with the mean of 2x2 pixels and no max pool, as in timm's `resnetblur50` and
            `resnetaa50`. The stem's convolution keeps its stride.
        padding: how convolutions and pools pad: `"zeros"`, `"reflect"`, `"replicate"` or
            `"circular"`, as in `Pad2D`. Blurs reflect where the convolutions pad with zeros.
        blur_kernel: taps of the blur along each axis, 1 (none) to 7. `None` is 4 for "blur", 3 for
            "timm_blur". Before polyphase pools `None` is 1; 2, 3 and 5 are the authors' APS-2,
            APS-3 and APS-5. Learned pools choose by the map before its blur. "stride" and
            "timm_average" have no blur.

    The weights have the same order, names and shapes whatever the padding, the blur and, except for
    "learned_polyphase", the downsampling.

    Returns:
        A Functional `keras.Model` from images `(batch, height, width, channels)` to logits
        `(batch, num_classes)`. The globally pooled vector is its layer `"latent"`.

    Raises:
        ValueError: for an invalid argument; for images so small that a map is too small to reflect:
            below 3x3 before a blur of 4 taps, or below 2x2 before a convolution.

    Padding is symmetric, as in PyTorch: 1 pixel on each side for 3x3 kernels, 3 for 7x7.

    With `padding="circular"`, a polyphase network is exactly invariant to circular shifts of the
    image: the logits differ by rounding alone. It is not

    - with another padding, whose border does not move with the image;
    - if the network's stride, 8 for the stem "cifar", does not divide both sides of the image;
    - with the stems "canvas" and "imagenet" for odd shifts, since their convolution has a stride;
    - if two polyphase components have norms, or scores, that are equal up to rounding but other
      contents, which is rare in float32 and not in float16 and bfloat16;
    - in training, with "learned_polyphase".

    Examples:
        >>> model = keras_gappos.models.resnet(18, (32, 32, 3), num_classes=10, width=16)
        >>> model.output_shape
        (None, 10)

    Source: He et al., arXiv 1512.03385; "blur": Zhang, arXiv 1904.11486; "polyphase": Chaman and
    Dokmanic, arXiv 2011.14214; "learned_polyphase": Rojas-Gomez et al., arXiv 2210.08001.
    """
    num_classes = integer("num_classes", num_classes, 1)
    inputs, features = backbone(
        depth, input_shape, width, stem, downsampling, padding=padding, blur_kernel=blur_kernel
    )
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
    padding: str = "zeros",
    blur_kernel: int | None = None,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Builds a ResNet up to its last feature map.

    Args:
        depth, input_shape, width, stem, downsampling, padding, blur_kernel: as in `resnet`.
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
    _check(depth, input_shape, stem, downsampling, padding)
    width = integer("width", width, 1)
    inserts = inserts or {}
    dilations = _dilations(stem, output_stride)
    parts = Blocks(downsampling, padding, _blur_kernel(blur_kernel, downsampling))
    blocks, kind = DEPTHS[depth]
    block = getattr(parts, kind)

    inputs = keras.Input(input_shape, name="images")
    x = _apply(inserts.get("stem"), parts.stem(inputs, width, *STEMS[stem]))
    dilation = 1
    for stage, count in enumerate(blocks, start=1):
        before, dilation = dilation, dilations[stage - 1]
        halve = stage > 1 and dilation == before
        for index in range(1, count + 1):
            x = block(
                x,
                width * 2 ** (stage - 1),
                halve and index == 1,
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


def _apply(layer, x):
    return x if layer is None else layer(x)


def _blur_kernel(taps, downsampling):
    if taps is None:
        return DOWNSAMPLINGS[downsampling]
    if downsampling in _WITHOUT_BLUR:
        raise ValueError(
            f"`blur_kernel` must be None for downsampling={downsampling!r}, which does not blur. "
            f"Received: blur_kernel={taps!r}"
        )
    return integer("blur_kernel", taps, 1, below=8)


def _check(depth, input_shape, stem, downsampling, padding):
    require_channels_last("keras_gappos.models")
    one_of("depth", depth, DEPTHS)
    if not isinstance(input_shape, (tuple, list)) or len(input_shape) != 3 or not input_shape[-1]:
        raise ValueError(
            "`input_shape` must be (height, width, channels), the channels known. "
            f"Received: input_shape={input_shape!r}"
        )
    one_of("stem", stem, STEMS)
    one_of("downsampling", downsampling, DOWNSAMPLINGS)
    one_of("padding", padding, PADDINGS)
