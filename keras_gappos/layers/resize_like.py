"""Resize feature maps to the size of another tensor."""

from __future__ import annotations

import keras
from keras import ops

from keras_gappos.arguments import Tensor
from keras_gappos.layers.data_format import require_channels_last


@keras.saving.register_keras_serializable(package="keras_gappos")
class ResizeLike(keras.layers.Layer):
    """Interpolates maps bilinearly to the height and width of a second input.

    Pixel centers are at half-integers, as in PyTorch with `align_corners=False` and in
    `tf.image.resize`; border pixels are repeated beyond the outermost centers. Shrinking does not
    smooth. The layer has no weights. As in `BlurPool2D`, a NaN or infinite pixel can spread to the
    whole map of its channel in its image, and no further.

    Input shape:
        Two tensors: maps `(batch, h, w, channels)`, and `(batch, height, width, ...)`, of which
        only the size is used. Sizes may be unknown.

    Output shape:
        `(batch, height, width, channels)`, in the layer's compute dtype.

    Raises:
        ValueError: if the maps are not of rank 4.

    Examples:
        >>> maps = np.array([[[[0.0], [4.0]]]])
        >>> wide = keras_gappos.layers.ResizeLike()(maps, np.zeros((1, 1, 4)))
        >>> keras.ops.convert_to_numpy(wide).flatten().tolist()
        [0.0, 1.0, 3.0, 4.0]
    """

    def __init__(self, **kwargs):
        require_channels_last("ResizeLike")
        super().__init__(**kwargs)

    def call(self, inputs: Tensor, like: Tensor) -> Tensor:
        """Returns the resized maps."""
        self._check(inputs.shape)
        _, height, width, channels = ops.shape(inputs)
        new_height, new_width = ops.shape(like)[1:3]
        x = ops.cast(inputs, self.compute_dtype)
        # Matrix products, as in BlurPool2D: they allow sizes that are unknown at compile time, and
        # TensorFlow's resize has no gradient under XLA.
        x = ops.reshape(x, (-1, height, width * channels))
        x = ops.matmul(self._matrix(height, new_height), x)
        x = ops.reshape(x, (-1, width, channels))
        x = ops.matmul(self._matrix(width, new_width), x)
        return ops.reshape(x, (-1, new_height, new_width, channels))

    def _matrix(self, old, new):
        """`(new, old)`: the weight of each old pixel in each new one."""
        pixels = ops.cast(ops.arange(old, dtype="int32"), "float32")
        centers = ops.cast(ops.arange(new, dtype="int32"), "float32") + 0.5
        scale = ops.cast(old, "float32") / ops.cast(new, "float32")
        places = ops.clip(centers * scale - 0.5, 0.0, ops.cast(old - 1, "float32"))
        matrix = ops.relu(1.0 - ops.abs(places[:, None] - pixels[None, :]))
        return ops.cast(matrix, self.compute_dtype)

    def compute_output_shape(self, inputs_shape: tuple, like_shape: tuple) -> tuple:
        """`(batch, height, width, channels)`."""
        self._check(inputs_shape)
        return (inputs_shape[0], *like_shape[1:3], inputs_shape[3])

    def _check(self, shape):
        if len(shape) != 4:
            raise ValueError(
                f"{self.name!r} needs maps of shape (batch, height, width, channels). "
                f"Received: shape={tuple(shape)}"
            )
