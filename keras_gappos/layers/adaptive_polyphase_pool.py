"""Adaptive polyphase pooling: keep the grid of pixels with the largest norm."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_gappos.arguments import Tensor, integer
from keras_gappos.layers.data_format import from_channels_last, standardize_data_format
from keras_gappos.layers.polyphase import (
    check_map,
    check_same_size,
    extended_map,
    first_of_largest,
    pooled_shape,
    take_polyphase,
)


def polyphase_norms(features: Tensor, strides: int, norm: float | str) -> Tensor:
    """Returns the norm of each polyphase component of each sample.

    Component `i * strides + j` is `features[:, i::strides, j::strides]`.

    Args:
        features: tensor `(batch, height, width, channels)`, height and width divisible by
            `strides`.
        strides: step of the components in pixels, at least 1.
        norm: the p, above 0, of the l_p norm; `math.inf` for the maximum norm.

    Returns:
        Tensor `(batch, strides**2)`, float32 or wider: the norms without the p-th root, up to a
        factor shared by all components of a sample; infinite or NaN for a component with such a
        value.
    """
    _, height, width, _ = ops.shape(features)
    x = ops.abs(ops.cast(features, keras.backend.result_type(features.dtype, "float32")))
    total = ops.sum
    if norm == math.inf:
        total = ops.max
    else:
        # Scaled, so that neither powers nor sums overflow or underflow.
        largest = ops.max(x, axis=(1, 2, 3), keepdims=True)
        if norm in (1, 2):
            x = x * _power_of_two(largest)
            x = ops.square(x) if norm == 2 else x
        else:
            x = ops.power(x / ops.where(largest > 0, largest, ops.ones_like(largest)), norm)
    x = total(x, axis=-1)
    x = ops.reshape(x, (-1, height // strides, strides, width // strides, strides))
    return ops.reshape(total(x, axis=(1, 3)), (-1, strides**2))


def _power_of_two(largest):
    """A factor, 1 for an ordinary size, with which no power or sum overflows or underflows."""
    one = ops.ones_like(largest)
    step = 480 if keras.backend.standardize_dtype(largest.dtype) == "float64" else 60
    factor = one
    for _ in range(2):
        scaled = largest * factor
        up = ops.where(scaled < 2.0 ** (-step // 3), one * 2.0**step, one)
        # In this order NaN counts as large.
        factor = factor * ops.where(scaled <= 2.0 ** (2 * step // 3), up, one * 2.0**-step)
    return factor


@keras.saving.register_keras_serializable(package="keras_gappos")
class AdaptivePolyphasePool2D(keras.layers.Layer):
    """Subsamples each feature map on the grid with the largest norm.

    A map has `strides**2` polyphase components, each with every `strides`-th pixel from a different
    start. Each sample keeps the component with the largest norm (on a tie the first, row by row),
    bit for bit; what is in the others, infinite or not, does not matter. A component with a NaN or
    infinite value counts as the largest; subnormal values may count as zero. A circular shift of
    the input permutes the components, so it only shifts the output, unless there is a tie.

    Args:
        strides: step in pixels along both axes, at least 1.
        norm: the p, above 0, of the l_p norm over all positions and channels of a component;
            `"inf"` for the maximum norm.
        data_format: `"channels_last"` or `"channels_first"`: the order of the axes. Defaults to
            `keras.config.image_data_format()`.

    Input shape:
        `inputs` `(batch, height, width, channels)`, or with "channels_first" `(batch, channels,
        height, width)`, of any numeric dtype; height and width may be unknown. Optionally
        `reference`, which may differ in the channels: the component is then chosen by its norm in
        the reference, so that a block's shortcut uses the grid of the main path. If
        `strides` does not divide a side, the map is extended with its first rows or columns, as the
        paper's authors do; it is then no longer invariant to circular shifts.

    Output shape:
        The inputs' shape with `ceil(height / strides)` and `ceil(width / strides)`; same dtype.

    Raises:
        ValueError: for an invalid argument, an input that is not of rank 4 or has a side smaller
            than half of `strides`, or a reference that differs from `inputs` in more than its
            channels.

    Examples:
        >>> row = np.array([0.0, 9.0, 1.0, 2.0]).reshape(1, 1, 4, 1)
        >>> pooled = keras_gappos.layers.AdaptivePolyphasePool2D()(row)
        >>> keras.ops.convert_to_numpy(pooled).flatten().tolist()
        [9.0, 2.0]

    Source: Chaman and Dokmanic, arXiv 2011.14214, section 3.
    """

    def __init__(
        self,
        strides: int = 2,
        norm: float | str = 2,
        data_format: str | None = None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # any dtype passes through unchanged
        self.strides = integer("strides", strides, 1)
        self.norm = _norm(norm)
        self.data_format = standardize_data_format(data_format)

    def call(self, inputs: Tensor, reference: Tensor | None = None) -> Tensor:
        """Returns the component of each sample with the largest norm in `reference`."""
        self._check(inputs, reference)
        inputs = extended_map(inputs, self.strides, self.data_format)
        grid = inputs
        if reference is not None:
            grid = extended_map(reference, self.strides, self.data_format)
        norms = polyphase_norms(grid, self.strides, float(self.norm))
        pooled = take_polyphase(inputs, first_of_largest(norms), self.strides)
        return from_channels_last(pooled, self.data_format)

    def _check(self, inputs, reference):
        check_map(self.name, inputs.shape, self.strides, self.data_format)
        if reference is not None:
            shapes = reference.shape, inputs.shape
            check_same_size(self.name, "`reference`", *shapes, self.data_format)

    def compute_output_shape(
        self, inputs_shape: tuple, reference_shape: tuple | None = None
    ) -> tuple:
        """The inputs' shape with `ceil(height / strides)` and `ceil(width / strides)`."""
        return pooled_shape(inputs_shape, self.strides, self.data_format)

    def compute_output_spec(
        self, inputs: Tensor, reference: Tensor | None = None
    ) -> keras.KerasTensor:
        """The pooled shape, and the inputs' dtype."""
        self._check(inputs, reference)
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "strides": self.strides,
            "norm": self.norm,
            "data_format": self.data_format,
        }


def _norm(value):
    """The norm in a form that JSON can hold: a number, or "inf"."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not number > 0:
        raise ValueError(f'`norm` must be a number above 0 or "inf". Received: norm={value!r}')
    return "inf" if number == math.inf else number
