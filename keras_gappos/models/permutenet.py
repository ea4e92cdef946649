"""PermuteNet: a ResNet with shuffled channels."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from keras_gappos.arguments import integer, one_of
from keras_gappos.layers import ChannelPermutation
from keras_gappos.models.resnet import PLACES, backbone


def permutenet(
    input_shape: Sequence[int | None],
    num_outputs: int,
    depth: int = 18,
    width: int = 64,
    permute_at: str = "pool",
    mode: str = "batch",
    seed: int | None = None,
    padding: str = "zeros",
) -> keras.Model:
    """Builds a PermuteNet: a ResNet with one `ChannelPermutation`.

    With the permutation after global pooling, the dense layer sees the values of the channels but
    not their order: position is lost, the image class only in part.

    Args:
        input_shape: `(height, width, channels)`; height and width may be `None`.
        num_outputs: number of logits, at least 1: the cells of the grid or the image classes.
        depth: 18, 34 or 50.
        width: channels of the first stage; 64 is the paper's.
        permute_at: where the permutation is: `"stem"`, after `"stage1"` ... `"stage4"`, or
            `"pool"`, after global pooling.
        mode: `"batch"` (the paper's), `"sample"` or `"fixed"`, as in `ChannelPermutation`.
        seed: integer, or `None` for different permutations at each construction.
        padding: `"zeros"` (the paper's), `"reflect"`, `"replicate"` or `"circular"`, as in
            `Pad2D`.

    Returns:
        A Functional `keras.Model` from images to logits `(batch, num_outputs)`; its pooling layer
        is named `"latent"`, its permutation `"permutation"`. Unless the mode is `"fixed"`, its
        outputs are random by design, including in inference.

    Raises:
        ValueError: for an argument out of range.

    Examples:
        >>> model = keras_gappos.models.permutenet((96, 96, 3), num_outputs=9, width=16)
        >>> model.get_layer("permutation").mode
        'batch'

    Source: Islam et al., ICCV 2021, section 3.1.
    """
    num_outputs = integer("num_outputs", num_outputs, 1)
    one_of("permute_at", permute_at, PLACES)
    permutation = ChannelPermutation(mode, "channels_last", seed, name="permutation")
    inputs, features = backbone(
        depth,
        input_shape,
        width,
        stem="canvas",
        inserts={permute_at: permutation},
        padding=padding,
    )
    latent = layers.GlobalAveragePooling2D(data_format="channels_last", name="latent")(features)
    if permute_at == "pool":
        latent = permutation(latent)
    outputs = layers.Dense(num_outputs, dtype="float32", name="logits")(latent)
    return keras.Model(inputs, outputs, name="permutenet")
