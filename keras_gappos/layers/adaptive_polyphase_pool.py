"""Adaptive polyphase pooling: keep the grid of pixels with the largest norm."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_gappos.arguments import Tensor, integer
from keras_gappos.layers.data_format import (
    from_channels_last,
    shape_from_channels_last,
    shape_to_channels_last,
    standardize_data_format,
    to_channels_last,
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


def first_of_largest(norms: Tensor) -> Tensor:
    """Returns the index of the largest norm of each sample, int32 `(batch,)`.

    Infinity and NaN count as largest. Of equal norms, the first is taken.

    Args:
        norms: tensor `(batch, strides**2)` of `polyphase_norms`.
    """
    # Not an argmax of floats, for which Keras needs operations on bits that ONNX and LiteRT lack.
    rank = ops.cast(ops.equal(norms, ops.max(norms, axis=-1, keepdims=True)), "int32")
    rank = rank + 2 * ops.cast(ops.logical_not(norms < math.inf), "int32")
    return ops.argmax(rank, axis=-1)


def take_polyphase(features: Tensor, choice: Tensor, strides: int) -> Tensor:
    """Returns the chosen polyphase component of each sample.

    Args:
        features: tensor `(batch, height, width, channels)`, height and width divisible by
            `strides`.
        choice: integer tensor `(batch,)`, the index of the component that each sample keeps, in
            the order of `polyphase_norms`.
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

    Example:
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
        inputs = self._complete(ops.convert_to_tensor(inputs))
        reference = inputs if reference is None else self._complete(reference)
        norms = polyphase_norms(reference, self.strides, float(self.norm))
        pooled = take_polyphase(inputs, first_of_largest(norms), self.strides)
        return from_channels_last(pooled, self.data_format)

    def _complete(self, x):
        """The map, channels last, extended with its start until `strides` divides its sides."""
        x = to_channels_last(x, self.data_format)
        _, height, width, _ = ops.shape(x)
        # Not -n % strides: ONNX has other remainders below 0, and JAX cannot tell that it divides.
        step = self.strides
        rows, columns = ((n + step - 1) // step * step - n for n in (height, width))
        if not (isinstance(rows, int) and rows == 0):
            x = ops.concatenate([x, x[:, :rows]], axis=1)
        if not (isinstance(columns, int) and columns == 0):
            x = ops.concatenate([x, x[:, :, :columns]], axis=2)
        return x

    def _check(self, inputs, reference):
        shape = shape_to_channels_last(inputs.shape, self.data_format)
        if len(shape) != 4:
            raise ValueError(
                f"{self.name!r} needs an input of shape (batch, height, width, channels), or "
                f"(batch, channels, height, width). Received: shape={shape}"
            )
        if any(n is not None and 2 * n < self.strides for n in shape[1:3]):
            raise ValueError(
                f"{self.name!r} needs a map whose sides are at least half of its strides. "
                f"Received: {shape[1]}x{shape[2]} for strides={self.strides}"
            )
        other = inputs if reference is None else reference
        other = shape_to_channels_last(other.shape, self.data_format)
        pairs = zip(shape[:3], other[:3], strict=True)
        if len(other) != 4 or any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise ValueError(
                f"`reference` must have the batch, height and width of `inputs` in {self.name!r}. "
                f"Received: reference of shape {other} for inputs of shape {shape}"
            )

    def compute_output_shape(
        self, inputs_shape: tuple, reference_shape: tuple | None = None
    ) -> tuple:
        """The inputs' shape with `ceil(height / strides)` and `ceil(width / strides)`."""
        shape = shape_to_channels_last(inputs_shape, self.data_format)
        halved = (None if n is None else -(-n // self.strides) for n in shape[1:3])
        return shape_from_channels_last((shape[0], *halved, shape[3]), self.data_format)

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
