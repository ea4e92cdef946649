"""DeepLabv3: semantic segmentation with dilated convolutions at several rates."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from keras_gappos.arguments import integer, one_of
from keras_gappos.layers import ResizeLike
from keras_gappos.models.blocks import batch_norm, conv
from keras_gappos.models.resnet import backbone

# output stride -> rates of the dilated branches, which cover the same area of the image
RATES = {8: (12, 24, 36), 16: (6, 12, 18)}


def deeplabv3(
    input_shape: Sequence[int | None],
    num_classes: int,
    depth: int = 50,
    width: int = 64,
    output_stride: int = 16,
    stem: str = "imagenet",
    padding: str = "zeros",
) -> keras.Model:
    """Builds a DeepLabv3 on a ResNet.

    The feature map, layer `"features"`, feeds five branches: a 1x1 convolution, three dilated 3x3
    convolutions and global average pooling (layer `"latent"`). They are concatenated, projected,
    subjected to 10 % dropout and a 3x3 convolution (as in torchvision; not in the paper), and
    classified. The logits are interpolated to the size of the images.

    Args:
        input_shape: `(height, width, channels)`; height and width may be `None`, and may be any
            size.
        num_classes: number of logits per pixel, at least 1, not counting unlabeled pixels.
        depth: 18, 34 or 50.
        width: channels of the backbone's first stage; each branch has four times as many. 64 is
            the paper's.
        output_stride: image pixels per pixel of the feature map, along each axis: 8 or 16. Stages
            that would halve the map further are dilated instead. The branches' dilation rates are
            12, 24, 36 for 8 and 6, 12, 18 for 16. A branch whose rate exceeds the map sees one
            pixel at a time.
        stem: as in `resnet`; "cifar" requires `output_stride=8`.
        padding: as in `resnet`, of all convolutions; "reflect" requires a feature map larger than
            the largest dilation rate. The interpolation to the size of the images repeats the
            border's pixels, whatever the padding.

    Returns:
        A Functional `keras.Model` from images `(batch, height, width, channels)` to float32 logits
        `(batch, height, width, num_classes)`. The weights have the same order, names and shapes for
        both output strides, and the backbone's are those of `resnet`.

    Raises:
        ValueError: for an invalid argument.

    Train on batches of at least two images: with one, the pooled branch's batch normalization
    outputs only its offset.

    Examples:
        >>> model = keras_gappos.models.deeplabv3((None, None, 3), num_classes=11, width=16)
        >>> model.output_shape
        (None, None, None, 11)

    Source: Chen et al., arXiv 1706.05587, section 3.
    """
    num_classes = integer("num_classes", num_classes, 1)
    rates = RATES[one_of("output_stride", output_stride, RATES)]
    inputs, features = backbone(
        depth, input_shape, width, stem, output_stride=output_stride, padding=padding
    )
    features = layers.Identity(name="features")(features)
    x = _spatial_pyramid(features, 4 * width, rates, padding)
    x = layers.Dropout(0.1, name="aspp_dropout")(x)
    x = _conv_block(x, 4 * width, 3, "head", padding=padding)
    classify = layers.Conv2D(
        num_classes, 1, data_format="channels_last", dtype="float32", name="class_conv"
    )
    outputs = ResizeLike(dtype="float32", name="logits")(classify(x), inputs)
    return keras.Model(inputs, outputs, name=f"deeplabv3_resnet{depth}")


def _spatial_pyramid(features, channels, rates, padding):
    """Atrous spatial pyramid pooling: context at several distances around each pixel."""
    branches = [_conv_block(features, channels, 1, "aspp0")]
    for index, rate in enumerate(rates, start=1):
        branches.append(_conv_block(features, channels, 3, f"aspp{index}", rate, padding))
    pooled = layers.GlobalAveragePooling2D(data_format="channels_last", name="latent")(features)
    pooled = layers.Reshape((1, 1, features.shape[-1]), name="aspp4_reshape")(pooled)
    pooled = _conv_block(pooled, channels, 1, "aspp4")
    branches.append(ResizeLike(name="aspp4_resize")(pooled, features))
    x = layers.Concatenate(name="aspp_concat")(branches)
    return _conv_block(x, channels, 1, "aspp_project")


def _conv_block(x, channels, kernel_size, name, dilation=1, padding="zeros"):
    x = conv(x, channels, kernel_size, 1, f"{name}_conv", dilation, padding)
    x = batch_norm(x, f"{name}_bn")
    return layers.ReLU(name=f"{name}_relu")(x)
