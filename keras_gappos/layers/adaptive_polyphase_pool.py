"""Downsample a feature map on the grid with the largest norm, which moves with the content."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_gappos.arguments import Tensor, integer


def polyphase_norms(features: Tensor, strides: int, norm: float | str) -> Tensor:
    """Returns the norm of each of the polyphase components of each sample.

    Component `i * strides + j` is `features[:, i::strides, j::strides]`.

    Args:
        features: tensor `(batch, height, width, channels)`, height and width divisible by
            `strides`.
        strides: step of the components in pixels, at least 1.
        norm: the p, above 0, of the l_p norm; `math.inf` for the maximum norm.

    Returns:
        Tensor `(batch, strides**2)`, float32 or wider, of the norms without the p-th root, up to
        a factor that is the same for all components of a sample.
    """
    _, height, width, _ = ops.shape(features)
    dtype = keras.backend.result_type(features.dtype, "float32")
    x = ops.abs(ops.cast(features, dtype))
    total = ops.sum
    if norm == math.inf:
        total = ops.max
    elif norm == 2:
        x = ops.square(x)
    elif norm != 1:
        # Scaled, so that high powers neither overflow nor underflow.
        x = ops.power(ops.divide_no_nan(x, ops.max(x, axis=(1, 2, 3), keepdims=True)), norm)
    x = total(x, axis=-1)
    x = ops.reshape(x, (-1, height // strides, strides, width // strides, strides))
    return ops.reshape(total(x, axis=(1, 3)), (-1, strides**2))


def take_polyphase(features: Tensor, choice: Tensor, strides: int) -> Tensor:
    """Returns one of the polyphase components of each sample.

    Args:
        features: tensor `(batch, height, width, channels)`, height and width divisible by
            `strides`.
        choice: integer tensor `(batch,)`, the number of the component that each sample keeps, as
            `polyphase_norms` counts them.
        strides: step of the components in pixels, at least 1.

    Returns:
        Tensor `(batch, height / strides, width / strides, channels)` of the features' dtype.
    """
    _, height, width, channels = ops.shape(features)
    height, width = height // strides, width // strides
    row = ops.one_hot(choice // strides, strides, dtype=features.dtype)
    column = ops.one_hot(choice % strides, strides, dtype=features.dtype)
    # Sums weighted by 0 and 1, first over the rows of each square, then over the columns: on
    # TensorFlow's CPU a tenth of the time of slices or `take_along_axis`, whose gradients scatter.
    x = ops.reshape(features, (-1, height, strides, strides * width * channels))
    x = ops.sum(ops.multiply(x, row[:, None, :, None]), axis=2)
    x = ops.reshape(x, (-1, height * width, strides, channels))
    x = ops.sum(ops.multiply(x, column[:, None, :, None]), axis=2)
    return ops.cast(ops.reshape(x, (-1, height, width, channels)), features.dtype)


@keras.saving.register_keras_serializable(package="keras_gappos")
class AdaptivePolyphasePool2D(keras.layers.Layer):
    """Keeps every `strides`-th pixel, starting for each sample where its largest values are.

    A map has `strides**2` polyphase components: every `strides`-th pixel, from each of the first
    `strides` rows and columns on. Of them each sample keeps the one of largest norm (of equal ones
    the first, row by row). A circular shift of the input permutes the components, and so only
    shifts the output, unless two components are equally large.

    Args:
        strides: step in pixels along both axes, at least 1.
        norm: the p, above 0, of the l_p norm over all positions and channels of a component;
            `"inf"` for the maximum norm.

    Input shape:
        `inputs` `(batch, height, width, channels)` of any numeric dtype, height and width may be
        unknown. Optionally a second tensor, `reference` `(batch, height, width, any)`: the
        component is chosen by its norm in the reference instead, so that a block's shortcut is
        halved on the grid of the main path. Where `strides` does not divide a side, the map is
        continued with its first rows or columns, as the paper's authors do; invariance to circular
        shifts then is lost.

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), channels)`, of the inputs' dtype.

    Raises:
        ValueError: for an invalid argument, an input not of rank 4, one with a
            side smaller than half of `strides`, or a reference that differs from `inputs` in more
            than its channels.

    Example:
        >>> row = np.array([0.0, 9.0, 1.0, 2.0]).reshape(1, 1, 4, 1)
        >>> pooled = keras_gappos.layers.AdaptivePolyphasePool2D()(row)
        >>> keras.ops.convert_to_numpy(pooled).flatten().tolist()
        [9.0, 2.0]

    Source: Chaman and Dokmanic, arXiv 2011.14214, section 3.
    """

    def __init__(self, strides: int = 2, norm: float | str = 2, **kwargs):
        super().__init__(autocast=False, **kwargs)  # any dtype passes through unchanged
        self.strides = integer("strides", strides, 1)
        self.norm = _norm(norm)

    def call(self, inputs: Tensor, reference: Tensor | None = None) -> Tensor:
        """Returns of each sample the component whose norm is largest in `reference`."""
        self._check(inputs, reference)
        inputs = self._complete(ops.convert_to_tensor(inputs))
        reference = inputs if reference is None else self._complete(reference)
        norms = polyphase_norms(reference, self.strides, float(self.norm))
        return take_polyphase(inputs, ops.argmax(norms, axis=-1), self.strides)

    def _complete(self, x):
        """Continues the map with its start until `strides` divides height and width."""
        _, height, width, _ = ops.shape(x)
        rows, columns = (-n % self.strides for n in (height, width))
        if not (isinstance(rows, int) and rows == 0):
            x = ops.concatenate([x, x[:, :rows]], axis=1)
        if not (isinstance(columns, int) and columns == 0):
            x = ops.concatenate([x, x[:, :, :columns]], axis=2)
        return x

    def _check(self, inputs, reference):
        shape = tuple(inputs.shape)
        if len(shape) != 4:
            raise ValueError(
                f"{self.name!r} needs an input of shape (batch, height, width, channels). "
                f"Received: shape={shape}"
            )
        if any(n is not None and 2 * n < self.strides for n in shape[1:3]):
            raise ValueError(
                f"{self.name!r} needs a map whose sides are at least half of its strides. "
                f"Received: {shape[1]}x{shape[2]} for strides={self.strides}"
            )
        other = shape if reference is None else tuple(reference.shape)
        pairs = zip(shape[:3], other[:3], strict=True)
        if len(other) != 4 or any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise ValueError(
                f"`reference` must have the batch, height and width of `inputs` in {self.name!r}. "
                f"Received: reference of shape {other} for inputs of shape {shape}"
            )

    def compute_output_shape(
        self, inputs_shape: tuple, reference_shape: tuple | None = None
    ) -> tuple:
        """`(batch, ceil(height / strides), ceil(width / strides), channels)`."""
        batch, height, width, channels = inputs_shape
        halved = (None if n is None else -(-n // self.strides) for n in (height, width))
        return (batch, *halved, channels)

    def compute_output_spec(
        self, inputs: Tensor, reference: Tensor | None = None
    ) -> keras.KerasTensor:
        """The pooled shape, and the inputs' dtype."""
        self._check(inputs, reference)
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "strides": self.strides, "norm": self.norm}


def _norm(value):
    """The norm as it is kept and saved: a number, or "inf", since JSON has no infinity."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not number > 0:
        raise ValueError(f'`norm` must be a number above 0 or "inf". Received: norm={value!r}')
    return "inf" if number == math.inf else number
