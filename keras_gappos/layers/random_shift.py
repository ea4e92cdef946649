"""Shift each image by its own random number of pixels."""

from __future__ import annotations

import numbers
import sys
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gappos.arguments import Tensor, integer, one_of
from keras_gappos.layers.borders import border_sources
from keras_gappos.layers.data_format import require_channels_last
from keras_gappos.layers.seed_generator import SeedGenerator

# fill mode, in the words of Keras' augmentation layers -> border, in those of padding
_BORDERS = {
    "constant": "replicate",
    "nearest": "replicate",
    "reflect": "symmetric",
    "wrap": "circular",
}
FILL_MODES = tuple(_BORDERS)


def shift_images(
    images: Tensor, offsets: Tensor, fill_mode: str = "constant", fill_value: float = 0.0
) -> Tensor:
    """Moves each image by its own offset.

    The pure function under `RandomShift`.

    Args:
        images: tensor `(batch, height, width, channels)` of any dtype.
        offsets: integer tensor `(batch, 2)` of pixels (down, right); negative ones move the content
            up or left. They may exceed the image size.
        fill_mode: how the border is filled, as in Keras' own augmentation layers:
            `"constant"` (`fill_value`), `"nearest"` (`aaaa|abcd|dddd`), `"reflect"`
            (`dcba|abcd|dcba`, the edge repeated) or `"wrap"` (`abcd|abcd|abcd`).
        fill_value: the constant, in the images' units; for integer images, an integer within the
            range of their dtype.

    Returns:
        Tensor with the images' shape and dtype.

    Raises:
        ValueError: for an unknown `fill_mode`, a `fill_value` that the images' dtype cannot hold,
            images that are not of rank 4, or offsets that are not integers of shape `(batch, 2)`.

    Examples:
        >>> image = np.arange(4.0).reshape(1, 1, 4, 1)
        >>> shift_images(image, np.array([[0, 1]]), "wrap")[0, 0, :, 0].tolist()
        [3.0, 0.0, 1.0, 2.0]
    """
    images, offsets = _as_tensor(images), _as_tensor(offsets)
    one_of("fill_mode", fill_mode, FILL_MODES)
    _check_fill_value(fill_value, images.dtype)
    _check_shapes(images, offsets)
    shape = ops.shape(images)[1:]
    return _shift(ops, shape, images, ops.cast(offsets, "int32"), fill_mode, fill_value)


def _shift(xp, shape, images, offsets, fill_mode, fill_value):
    """`shift_images` with the functions of `xp`, `keras.ops` or TensorFlow's NumPy.

    `shape` is `(height, width, channels)`, the offsets are int32.
    """
    height, width, channels = shape
    rows, row_inside = _sources(xp, offsets[:, :1], height, fill_mode)
    columns, column_inside = _sources(xp, offsets[:, 1:], width, fill_mode)
    # One gather of whole pixels from a flat list. The cumulative sum numbers the images even when
    # the batch size is unknown.
    image = xp.cumsum(xp.ones_like(rows[:, :1]), axis=0, dtype="int32") - 1
    index = (image * height + rows)[:, :, None] * width + columns[:, None, :]
    pixels = xp.reshape(images, (-1, channels))
    shifted = xp.take(pixels, xp.reshape(index, (-1,)), axis=0)
    shifted = xp.reshape(shifted, (-1, height, width, channels))
    if fill_mode != "constant":
        return shifted
    inside = xp.logical_and(row_inside[:, :, None], column_inside[:, None, :])[..., None]
    return xp.where(inside, shifted, xp.full_like(shifted, fill_value))


def _sources(xp, offsets, length, fill_mode):
    """The source index of each pixel of an axis, and whether it exists; `(batch, length)`."""
    wanted = xp.subtract(xp.arange(length, dtype="int32")[None, :], offsets)
    source = border_sources(wanted, length, _BORDERS[fill_mode], xp)
    return source, xp.equal(source, wanted)


@keras.saving.register_keras_serializable(package="keras_gappos")
class RandomShift(keras.layers.Layer):
    """Moves each image by a random whole number of pixels, in training only.

    As Keras' own augmentation layers, it shifts unless told `training=False`: so in
    `tf.data.Dataset.map`, which works on every backend, and when it, or a model with it inside, is
    called directly. `fit` shifts; `evaluate` and `predict` do not.

    Args:
        max_shift: largest shift, in pixels, at least 0. Each image moves down and right by
            independent uniform integers in [-max_shift, max_shift], both ends included.
        fill_mode: how the border is filled: `"constant"`, `"nearest"`, `"reflect"` or
            `"wrap"`; see `shift_images`.
        fill_value: the constant, in the images' units.
        seed: integer in [0, 2**32), or `None` for different shifts at each construction.

    Input shape:
        `(batch, height, width, channels)`, or one image `(height, width, channels)`; any dtype.

    Output shape:
        The input's shape and dtype: `uint8` stays `uint8`.

    Raises:
        ValueError: for a `max_shift` that is negative or not smaller than the image, an unknown
            `fill_mode`, a `fill_value` that the images' dtype cannot hold, a `seed` out of range.

    Examples:
        >>> shift = keras_gappos.layers.RandomShift(4, seed=0)
        >>> shift(np.ones((2, 32, 32, 3))).shape
        (2, 32, 32, 3)
        >>> images = tf.data.Dataset.from_tensors(np.ones((2, 32, 32, 3))).map(shift)
    """

    def __init__(
        self,
        max_shift: int,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        seed: int | None = None,
        **kwargs,
    ):
        require_channels_last("RandomShift")
        super().__init__(autocast=False, **kwargs)
        self.max_shift = integer("max_shift", max_shift, 0)
        self.fill_mode = one_of("fill_mode", fill_mode, FILL_MODES)
        self.fill_value = _finite_number("fill_value", fill_value)
        self.seed = None if seed is None else integer("seed", seed, 0, below=2**32)
        self.seed_generator = SeedGenerator(self.seed)
        self._tensorflow_generator = None

    def __call__(self, images: Tensor, *args, **kwargs) -> Tensor:
        """Shifts the images; also takes TensorFlow tensors on other backends, for `tf.data`."""
        if _is_foreign_to_backend(images):
            return self._shift_in_tensorflow(images, *args, **kwargs)
        return super().__call__(images, *args, **kwargs)

    def call(self, images: Tensor, training: bool | None = True) -> Tensor:
        """Returns the images, shifted if `training`."""
        self._check(images)
        if not training or not self.max_shift:
            return images
        if len(images.shape) == 3:
            return self.call(images[None], training)[0]
        offsets = draw_offsets(ops.shape(images)[0], self.max_shift, self.seed_generator)
        return shift_images(images, offsets, self.fill_mode, self.fill_value)

    def _shift_in_tensorflow(self, images, training=True):
        import tensorflow as tf

        self._check(images)
        if not training or not self.max_shift:
            return images
        if len(images.shape) == 3:
            return self._shift_in_tensorflow(images[None], training)[0]
        if self._tensorflow_generator is None:
            with tf.init_scope():
                seed = int(np.random.default_rng(self.seed).integers(2**31))
                self._tensorflow_generator = tf.random.Generator.from_seed(seed)
        if None in images.shape[1:]:
            raise ValueError(
                "In `tf.data`, on a backend other than TensorFlow, the image size must be known. "
                f"Received: shape={tuple(images.shape)}. Resize them first, or use `ensure_shape`."
            )
        offsets = self._tensorflow_generator.uniform(
            (tf.shape(images)[0], 2), -self.max_shift, self.max_shift + 1, dtype=tf.int32
        )
        arguments = images, offsets, self.fill_mode, self.fill_value
        shifted = _shift(tf.experimental.numpy, images.shape[1:], *arguments)
        return tf.ensure_shape(shifted, images.shape)

    def _check(self, images):
        if len(images.shape) not in (3, 4):
            raise ValueError(
                "Images must be of shape (batch, height, width, channels) or (height, width, "
                f"channels). Received: shape={tuple(images.shape)}"
            )
        _check_fill_value(self.fill_value, images.dtype)
        sides = [side for side in images.shape[-3:-1] if side is not None]
        if sides and self.max_shift >= min(sides):
            raise ValueError(
                f"`max_shift` must be smaller than the image, in [0, {min(sides)}). "
                f"Received: max_shift={self.max_shift}, images of shape {tuple(images.shape)}"
            )

    def save_own_variables(self, store: Any) -> None:
        """Saves the random state."""
        self.seed_generator.save(store)

    def load_own_variables(self, store: Any) -> None:
        """Restores the random state."""
        self.seed_generator.load(store)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """The input's shape."""
        return input_shape

    def compute_output_spec(
        self, images: Tensor, training: bool | None = None
    ) -> keras.KerasTensor:
        """The input's shape and dtype."""
        self._check(images)
        return keras.KerasTensor(images.shape, dtype=images.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "max_shift": self.max_shift,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
            "seed": self.seed,
        }


def draw_offsets(batch_size: Tensor, max_shift: int, seed: keras.random.SeedGenerator) -> Tensor:
    """Draws (down, right) offsets, uniform integers in [-max_shift, max_shift].

    Args:
        batch_size: number of images.
        max_shift: largest offset in pixels.
        seed: a Keras seed generator.

    Returns:
        int32 tensor `(batch_size, 2)`.
    """
    return keras.random.randint((batch_size, 2), -max_shift, max_shift + 1, "int32", seed)


def _as_tensor(values):
    return values if isinstance(values, keras.KerasTensor) else ops.convert_to_tensor(values)


def _is_foreign_to_backend(images):
    """Whether it is a TensorFlow tensor while Keras uses another backend."""
    tf = sys.modules.get("tensorflow")
    return keras.backend.backend() != "tensorflow" and tf is not None and tf.is_tensor(images)


def _check_shapes(images, offsets):
    if len(images.shape) != 4:
        raise ValueError(
            "`images` must be of shape (batch, height, width, channels). "
            f"Received: shape={tuple(images.shape)}"
        )
    count, shape = images.shape[0], tuple(offsets.shape)
    known = len(shape) == 2 and None not in (count, shape[0])
    if len(shape) != 2 or shape[1] != 2 or (known and shape[0] != count):
        raise ValueError(
            "`offsets` must be of shape (batch, 2), (down, right) for each image. "
            f"Received: offsets of shape {shape} for {count} images"
        )
    if "int" not in keras.backend.standardize_dtype(offsets.dtype):
        raise ValueError(f"`offsets` must be integers. Received: dtype={offsets.dtype}")


def _finite_number(name, value):
    if not isinstance(value, numbers.Real) or not np.isfinite(value):
        raise ValueError(f"`{name}` must be a finite number. Received: {name}={value!r}")
    return value


def _check_fill_value(fill_value, dtype):
    _finite_number("fill_value", fill_value)
    dtype = getattr(dtype, "name", None) or str(dtype).replace("torch.", "")
    if "int" not in dtype:
        return
    limits = np.iinfo(dtype)
    if fill_value != int(fill_value) or not limits.min <= fill_value <= limits.max:
        raise ValueError(
            f"`fill_value` must be a whole number in [{limits.min}, {limits.max}] for images of "
            f"dtype {dtype}. Received: fill_value={fill_value}"
        )
