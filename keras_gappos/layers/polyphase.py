"""The polyphase components of feature maps: every `strides`-th pixel from each start.

Component `i * strides + j` is `features[:, i::strides, j::strides]`.
"""

from __future__ import annotations

import math

from keras import ops

from keras_gappos.arguments import Tensor
from keras_gappos.layers.data_format import (
    check_rank,
    shape_from_channels_last,
    shape_to_channels_last,
    to_channels_last,
)


def check_map(name: str, shape: tuple, strides: int, data_format: str) -> None:
    """Raises a `ValueError` if a layer of this name cannot pool a map of this shape."""
    shape = shape_to_channels_last(shape, data_format)
    check_rank(name, shape)
    if any(n is not None and 2 * n < strides for n in shape[1:3]):
        raise ValueError(
            f"{name!r} needs a map whose sides are at least half of its strides. "
            f"Received: {shape[1]}x{shape[2]} for strides={strides}"
        )


def check_same_size(name: str, what: str, shape: tuple, first: tuple, data_format: str) -> None:
    """Raises a `ValueError` if `what`, of this shape, is not on the grid of the `first` shape."""
    shape, first = (shape_to_channels_last(each, data_format) for each in (shape, first))
    pairs = zip(shape[:3], first[:3], strict=True)
    if len(shape) != 4 or any(None not in pair and pair[0] != pair[1] for pair in pairs):
        raise ValueError(
            f"{what} must have the batch, height and width of the first input of {name!r}. "
            f"Received: {shape} for a first input of shape {first}"
        )


def pooled_shape(shape: tuple, strides: int, data_format: str) -> tuple:
    """The shape of one component of a map of this shape, in the same data format."""
    batch, *sides, channels = shape_to_channels_last(shape, data_format)
    pooled = (None if n is None else -(-n // strides) for n in sides)
    return shape_from_channels_last((batch, *pooled, channels), data_format)


def extended_map(maps: Tensor, strides: int, data_format: str) -> Tensor:
    """Returns maps, channels last, extended with their start until `strides` divides the sides."""
    x = to_channels_last(ops.convert_to_tensor(maps), data_format)
    _, height, width, _ = ops.shape(x)
    # Not -n % strides: ONNX has other remainders below 0, and JAX cannot tell that it divides.
    rows, columns = ((n + strides - 1) // strides * strides - n for n in (height, width))
    if not (isinstance(rows, int) and rows == 0):
        x = ops.concatenate([x, x[:, :rows]], axis=1)
    if not (isinstance(columns, int) and columns == 0):
        x = ops.concatenate([x, x[:, :, :columns]], axis=2)
    return x


def first_of_largest(scores: Tensor) -> Tensor:
    """Returns the index of the largest score of each sample, int32 `(batch,)`.

    Infinity and NaN count as largest. Of equal scores, the first is taken.

    Args:
        scores: tensor `(batch, strides**2)`, one for each component, such as its norm.
    """
    # Not an argmax of floats, for which Keras needs operations on bits that ONNX and LiteRT lack.
    rank = ops.cast(ops.equal(scores, ops.max(scores, axis=-1, keepdims=True)), "int32")
    rank = rank + 2 * ops.cast(ops.logical_not(scores < math.inf), "int32")
    return ops.argmax(rank, axis=-1)


def take_polyphase(features: Tensor, choice: Tensor, strides: int) -> Tensor:
    """Returns the chosen polyphase component of each sample.

    Args:
        features: tensor `(batch, height, width, channels)`, height and width divisible by
            `strides`.
        choice: integer tensor `(batch,)`, the index of the component that each sample keeps.
        strides: step of the components in pixels, at least 1.

    Returns:
        Tensor `(batch, height / strides, width / strides, channels)` with the dtype of `features`.
    """
    _, height, width, channels = ops.shape(features)
    height, width = height // strides, width // strides
    x = ops.reshape(features, (-1, height, strides, strides * width * channels))
    x = _select(x, choice // strides, strides)
    x = ops.reshape(x, (-1, height * width, strides, channels))
    x = _select(x, choice % strides, strides)
    return ops.reshape(x, (-1, height, width, channels))


def _select(x, index, count):
    """`x[n, :, index[n]]` for each sample n; `count` is the size of that axis."""
    # A gather, whose gradient scatters, is slower on CPUs, and mixes the shards of a batch in JAX.
    chosen, *others = ops.unstack(x, count, axis=2)
    for i, other in enumerate(others, 1):
        chosen = ops.where(ops.equal(index, i)[:, None, None], other, chosen)
    return chosen
