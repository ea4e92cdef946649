"""Anti-aliased downsampling: blur, then subsample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_gappos.arguments import Tensor, integer, one_of, pair
from keras_gappos.layers.borders import border_sources
from keras_gappos.layers.data_format import (
    check_rank,
    from_channels_last,
    shape_from_channels_last,
    shape_to_channels_last,
    standardize_data_format,
    to_channels_last,
)

PADDINGS = ("reflect", "replicate", "zero", "circular")


@keras.saving.register_keras_serializable(package="keras_gappos")
class BlurPool2D(keras.layers.Layer):
    """Blurs each channel with a fixed binomial kernel and keeps every `strides`-th pixel.

    The kernel is the outer product of a row of Pascal's triangle with itself, normalized to sum 1.
    Each axis is padded with `kernel_size - 1` pixels, the smaller half before and the larger half
    after. The layer has no weights.

    A NaN or infinite pixel spreads to the whole map of its channel in its image, not only to the
    outputs whose window covers it, because the layer uses matrix products for speed. Other channels
    and images are unaffected.

    Args:
        kernel_size: taps of the kernel along each axis, 1 (no blur) to 7.
        strides: step in pixels along both axes, at least 1, or a pair (vertical, horizontal).
        padding: `"reflect"` mirrors the map without repeating its border pixels, `"replicate"`
            repeats the border pixels, `"zero"` pads with zeros, `"circular"` continues with the
            opposite side.
        data_format: `"channels_last"` or `"channels_first"`: the order of the axes. Defaults to
            `keras.config.image_data_format()`.
        window: size, or pair of sizes, of the windows of a convolution or pool of these strides and
            `padding="same"`, to center the outputs where its windows are: with 3 and strides of 2,
            on pixels 1, 3, 5, ... of an even-sized map. `None` starts with the first pixel.

    Input shape:
        `(batch, height, width, channels)`, or with "channels_first" `(batch, channels, height,
        width)`; height and width may be unknown.

    Output shape:
        The input's shape with `ceil(height / strides)` and `ceil(width / strides)`, in the layer's
        compute dtype.

    Raises:
        ValueError: for an invalid argument, an input that is not of rank 4, or a map too small to
            reflect. (A map whose size is unknown at compile time is reflected repeatedly, as in
            NumPy.)

    Examples:
        >>> ramp = np.arange(8.0).reshape(1, 1, 8, 1)
        >>> pooled = keras_gappos.layers.BlurPool2D(3, padding="replicate")(ramp)
        >>> keras.ops.convert_to_numpy(pooled).flatten().tolist()
        [0.25, 2.0, 4.0, 6.0]

    Source: Zhang, arXiv 1904.11486.
    """

    def __init__(
        self,
        kernel_size: int = 4,
        strides: int | Sequence[int] = 2,
        padding: str = "reflect",
        data_format: str | None = None,
        window: int | Sequence[int] | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.kernel_size = integer("kernel_size", kernel_size, 1, below=8)
        self.strides = _one_or_pair("strides", strides)
        self.padding = one_of("padding", padding, PADDINGS)
        self.data_format = standardize_data_format(data_format)
        self.window = None if window is None else _one_or_pair("window", window)

    def call(self, inputs: Tensor) -> Tensor:
        """Returns the blurred and subsampled maps."""
        self._check(shape_to_channels_last(inputs.shape, self.data_format))
        x = to_channels_last(ops.cast(inputs, self.compute_dtype), self.data_format)
        _, height, width, channels = ops.shape(x)
        _, out_height, out_width, _ = self._pooled((None, height, width, channels))
        # One matrix product per axis, without a padded copy. On CPUs, forward and backward take two
        # thirds of the time of a padded depthwise convolution (bfloat16: an eighth; JAX: a
        # thirtieth), which is only faster for sides above 112 on TensorFlow. A convolution would
        # confine a non-finite pixel to its window, but training and analysis reject such values.
        x = ops.reshape(x, (-1, height, width * channels))
        x = ops.matmul(self._matrix(height, 0, x.dtype), x)
        x = ops.reshape(x, (-1, width, channels))
        x = ops.matmul(self._matrix(width, 1, x.dtype), x)
        x = ops.reshape(x, (-1, out_height, out_width, channels))
        return from_channels_last(x, self.data_format)

    def _matrix(self, length, axis, dtype):
        """`(ceil(length / strides), length)`: the weight of each pixel in each output."""
        strides = pair(self.strides)[axis]
        centers = ops.arange(0, length, strides, dtype="int32")[:, None]
        if self.window is not None:
            centers += self._offset(length, strides, pair(self.window)[axis])
        pixels = ops.arange(length, dtype="int32")[None, :]
        before = (self.kernel_size - 1) // 2
        matrix = 0.0
        for i in range(self.kernel_size):
            tap = math.comb(self.kernel_size - 1, i) / 2 ** (self.kernel_size - 1)
            source = centers + (i - before)
            if self.padding != "zero":
                source = border_sources(source, length, self.padding)
            matrix += tap * ops.cast(ops.equal(source, pixels), dtype)
        return matrix

    def _offset(self, length, strides, window):
        """The center of the first window of a layer of padding "same"."""
        # For each remainder: how far "same" pads before the map without strides, and with them.
        offsets = [
            (window - 1) // 2 - max(window - (remainder or strides), 0) // 2
            for remainder in range(strides)
        ]
        if isinstance(length, int):
            return offsets[length % strides]
        return ops.take(ops.convert_to_tensor(offsets, "int32"), length % strides)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """The input's shape with `ceil(height / strides)` and `ceil(width / strides)`."""
        shape = shape_to_channels_last(input_shape, self.data_format)
        self._check(shape)
        return shape_from_channels_last(self._pooled(shape), self.data_format)

    def _pooled(self, shape):
        batch, height, width, channels = shape
        halved = (
            None if n is None else (n + step - 1) // step
            for n, step in zip((height, width), pair(self.strides))
        )
        return (batch, *halved, channels)

    def _check(self, shape):
        check_rank(self.name, shape)
        least = self.kernel_size // 2 + 1
        if self.padding == "reflect" and any(isinstance(n, int) and n < least for n in shape[1:3]):
            raise ValueError(
                f"{self.name!r} reflects the map at its border, which needs at least "
                f"{least}x{least} pixels for kernel_size={self.kernel_size}. "
                f"Received: {shape[1]}x{shape[2]}. Give the network larger images, or the layer a "
                "smaller kernel_size or padding='replicate'."
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "window": self.window,
        }


def _one_or_pair(name, value):
    """`value`, if it is an integer of at least 1, or a pair of them."""
    if not isinstance(value, (tuple, list)):
        return integer(name, value, 1)
    if len(value) != 2:
        raise ValueError(f"`{name}` must be an integer or a pair. Received: {name}={value!r}")
    return tuple(integer(name, each, 1) for each in value)
