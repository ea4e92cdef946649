"""GAPNet: a ResNet that ends in global average pooling."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from keras_gappos.arguments import integer
from keras_gappos.models.blocks import conv
from keras_gappos.models.resnet import backbone


def gapnet(
    input_shape: Sequence[int | None],
    num_outputs: int,
    depth: int = 18,
    width: int = 64,
    padding: str = "zeros",
) -> keras.Model:
    """Builds a GAPNet: a ResNet, a 3x3 convolution to the outputs, global average pooling.

    There is no dense layer: each output is the mean of one channel over the whole image. It can
    still name the cell of an image, because the order of the channels encodes position.

    Args:
        input_shape: `(height, width, channels)`; height and width may be `None`.
        num_outputs: number of logits, at least 1: the cells of the grid or the image classes.
        depth: 18, 34 or 50.
        width: channels of the first stage; 64 is the paper's.
        padding: `"zeros"` (the paper's), `"reflect"`, `"replicate"` or `"circular"`, as in
            `Pad2D`.

    Returns:
        A Functional `keras.Model` from images to logits `(batch, num_outputs)`, its pooling layer
        named `"latent"`.

    Raises:
        ValueError: for an argument out of range.

    Examples:
        >>> model = keras_gappos.models.gapnet((96, 96, 3), num_outputs=9, width=16)
        >>> model.output_shape
        (None, 9)

    Source: Islam et al., ICCV 2021, section 3.1.
    """
    num_outputs = integer("num_outputs", num_outputs, 1)
    inputs, features = backbone(depth, input_shape, width, stem="canvas", padding=padding)
    classes = conv(
        features,
        num_outputs,
        3,
        1,
        "class_conv",
        padding=padding,
        use_bias=True,
        kernel_initializer="glorot_uniform",
    )
    outputs = layers.GlobalAveragePooling2D(
        data_format="channels_last", dtype="float32", name="latent"
    )(classes)
    return keras.Model(inputs, outputs, name="gapnet")
