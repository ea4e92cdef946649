"""Set channels to zero."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gappos.arguments import Tensor
from keras_gappos.layers.data_format import require_channels_last


@keras.saving.register_keras_serializable(package="keras_gappos")
class ChannelMask(keras.layers.Layer):
    """Sets some channels to zero, in training and inference, and passes the others through.

    A masked channel is zero even where it was NaN or infinite.

    Args:
        channels: distinct indices along the last axis: a list, range or array of integers in
            [0, number of channels). If empty, the layer is an identity.

    Input shape:
        `(batch, ..., channels)`, rank 2 or more, any dtype. The number of channels must be known.

    Output shape:
        The input's shape and dtype.

    Raises:
        ValueError: for channels that are not integers, negative, repeated or, when the layer is
            built, out of range; for an input of rank 1.

    Examples:
        >>> mask = keras_gappos.layers.ChannelMask([0, 2])
        >>> keras.ops.convert_to_numpy(mask(np.array([[1.0, 2.0, 3.0]]))).tolist()
        [[0.0, 2.0, 0.0]]
    """

    def __init__(self, channels: Iterable[int], **kwargs):
        require_channels_last("ChannelMask")
        super().__init__(autocast=False, **kwargs)
        self.channels = channel_indices(channels)

    def build(self, input_shape: tuple) -> None:
        """Checks that the input has these channels."""
        self._check(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        """Returns the inputs with the masked channels set to zero."""
        if not self.channels:
            return inputs
        keep = keep_vector(self.channels, inputs.shape[-1])
        return ops.where(keep, inputs, ops.zeros((), inputs.dtype))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """The input's shape."""
        return input_shape

    def compute_output_spec(self, inputs: Tensor) -> keras.KerasTensor:
        """The input's shape and dtype."""
        self._check(inputs.shape)
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "channels": list(self.channels)}

    def _check(self, shape):
        if len(shape) < 2 or shape[-1] is None:
            raise ValueError(
                f"{self.name!r} needs an input (batch, ..., channels) with a known number of "
                f"channels. Received: shape={tuple(shape)}"
            )
        channel_indices(self.channels, shape[-1])


def channel_indices(channels: Iterable[int], total: int | None = None) -> tuple[int, ...]:
    """Returns channels as a tuple of `int`, if they are distinct indices.

    Args:
        channels: iterable of integers, including NumPy's.
        total: number of channels, or `None` if unknown.

    Raises:
        ValueError: if they are not; the message names the first invalid one.
    """
    try:
        values = list(channels)
        if isinstance(channels, (str, bytes)) or any(
            isinstance(v, (bool, np.bool_)) for v in values
        ):
            raise TypeError
        indices = tuple(map(operator.index, values))
    except TypeError:
        raise ValueError(
            f"`channels` must be integers, indices of channels. Received: channels={channels!r}"
        ) from None
    for index in indices:
        if index < 0 or (total is not None and index >= total):
            bounds = "of at least 0" if total is None else f"in [0, {total})"
            raise ValueError(f"`channels` must be integers {bounds}. Received: channel {index}")
    if len(set(indices)) < len(indices):
        twice = sorted({index for index in indices if indices.count(index) > 1})
        raise ValueError(f"`channels` must be given once each. Received: {twice} several times")
    return indices


def keep_vector(channels: Iterable[int], total: int) -> np.ndarray:
    """Boolean array `(total,)`, `False` for these channels."""
    keep = np.ones(total, dtype=bool)
    keep[list(channels)] = False
    return keep
