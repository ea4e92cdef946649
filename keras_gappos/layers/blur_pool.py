"""Blur before subsampling, so that downsampling a feature map does not alias."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from keras_gappos.arguments import Tensor, integer, one_of

PADDINGS = ("reflect", "replicate", "zero")


@keras.saving.register_keras_serializable(package="keras_gappos")
class BlurPool2D(keras.layers.Layer):
    """Blurs each channel with a fixed binomial kernel and keeps every `strides`-th pixel.

    The kernel is the outer product of a row of Pascal's triangle with itself, its sum 1. Of the
    `kernel_size - 1` pixels that the map is padded with, the smaller half goes before and the
    larger half after, on either axis. The layer has no weights.

    A NaN or infinite pixel makes the whole map of its channel in its image NaN or infinite, not
    only the outputs whose window it lies in, because the layer multiplies by matrices for speed.
    Other channels and other images are unaffected.

    Args:
        kernel_size: taps of the kernel along each axis, 1 (no blur) to 7.
        strides: step in pixels along both axes, at least 1.
        padding: what lies beyond the border; `"reflect"`: the map mirrored, its border pixels not
            repeated; `"replicate"`: the border pixels; `"zero"`: zeros.

    Input shape:
        `(batch, height, width, channels)`; height and width may be unknown.

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), channels)`, of the layer's compute
        dtype.

    Raises:
        ValueError: for an invalid argument, an input not of rank 4, or a map
            that is too small to be reflected. (One whose size is unknown while a function is
            compiled is reflected again and again, as NumPy does it.)

    Example:
        >>> ramp = np.arange(8.0).reshape(1, 1, 8, 1)
        >>> pooled = keras_gappos.layers.BlurPool2D(3, padding="replicate")(ramp)
        >>> keras.ops.convert_to_numpy(pooled).flatten().tolist()
        [0.25, 2.0, 4.0, 6.0]

    Source: Zhang, arXiv 1904.11486.
    """

    def __init__(self, kernel_size: int = 4, strides: int = 2, padding: str = "reflect", **kwargs):
        super().__init__(**kwargs)
        self.kernel_size = integer("kernel_size", kernel_size, 1, below=8)
        self.strides = integer("strides", strides, 1)
        self.padding = one_of("padding", padding, PADDINGS)

    def call(self, inputs: Tensor) -> Tensor:
        """Returns the blurred and subsampled maps."""
        _, out_height, out_width, _ = self._output_shape(inputs.shape, ops.shape(inputs))
        _, height, width, channels = ops.shape(inputs)
        x = ops.cast(inputs, self.compute_dtype)
        # One matrix product per axis. On CPUs, forward and backward take two thirds of the time of
        # a padded depthwise convolution (bfloat16: an eighth; JAX: a thirtieth) and a sixth of that
        # of sums of slices. No padded copy is needed. The convolution would keep a non-finite pixel
        # within its window, but training and analysis reject such values anyway. It is only faster
        # for sides above 112 on TensorFlow.
        x = ops.reshape(x, (-1, height, width * channels))
        x = ops.matmul(self._matrix(height, x.dtype), x)
        x = ops.reshape(x, (-1, width, channels))
        x = ops.matmul(self._matrix(width, x.dtype), x)
        return ops.reshape(x, (-1, out_height, out_width, channels))

    def _matrix(self, length, dtype):
        """`(ceil(length / strides), length)`: how much of each pixel is in each output pixel."""
        centers = ops.arange(0, length, self.strides, dtype="int32")[:, None]
        pixels = ops.arange(length, dtype="int32")[None, :]
        before = (self.kernel_size - 1) // 2
        matrix = 0.0
        for i in range(self.kernel_size):
            tap = math.comb(self.kernel_size - 1, i) / 2 ** (self.kernel_size - 1)
            source = self._source(centers + (i - before), length)
            matrix += tap * ops.cast(ops.equal(source, pixels), dtype)
        return matrix

    def _source(self, positions, length):
        """The pixel that supplies the value at each position, or an index outside for none."""
        if self.padding == "replicate":
            return ops.clip(positions, 0, length - 1)
        if self.padding == "reflect":
            period = ops.maximum(2 * (length - 1), 1)
            positions = ops.mod(positions, period)
            return ops.minimum(positions, period - positions)
        return positions

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """`(batch, ceil(height / strides), ceil(width / strides), channels)`."""
        return self._output_shape(input_shape, input_shape)

    def _output_shape(self, known_shape, shape):
        self._check(tuple(known_shape))
        batch, height, width, channels = shape
        halved = (None if n is None else -(-n // self.strides) for n in (height, width))
        return (batch, *halved, channels)

    def _check(self, shape):
        if len(shape) != 4:
            raise ValueError(
                f"{self.name!r} needs an input of shape (batch, height, width, channels). "
                f"Received: shape={shape}"
            )
        least = self.kernel_size // 2 + 1
        if self.padding == "reflect" and any(n is not None and n < least for n in shape[1:3]):
            raise ValueError(
                f"{self.name!r} reflects the map at its border, which takes at least "
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
        }
