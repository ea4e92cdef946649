"""Runs a network on batches of images, compiled as the network is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gappos.arguments import Tensor


class Predictor:
    """Runs a function of a network on batches of images, as one compiled call.

    A batch that is smaller than an earlier one is filled up with copies of its last image, so that
    nothing is compiled anew. The network's weights and compile settings stay as they are.

    Args:
        network: the `keras.Model` whose weights `function` uses. Where it is compiled, its
            `jit_compile` and `run_eagerly` apply; otherwise Keras chooses.
        function: from tensors to one tensor `(batch, ...)`: integers of at least 0, or -1 where
            the network gives NaN, as `decisions.decide` makes them; or floating-point numbers.
        prepare: function of a filled-up batch, run once for all its variants, that returns the
            first arguments of `function`, an array or a list of them; `None`: the images alone.

    Examples:
        >>> network = keras_gappos.models.gapnet((8, 8, 1), num_outputs=10, width=4)
        >>> classes = Predictor(network, lambda images: decide(network(images, training=False)))
        >>> classes(np.zeros((3, 8, 8, 1), "float32")).shape
        (3,)
    """

    def __init__(
        self,
        network: keras.Model,
        function: Callable[..., Tensor],
        prepare: Callable[[np.ndarray], Any] | None = None,
    ):
        self._model, self._prepare = _Function(network, function), prepare
        self._size = 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The function of one batch: an array `(batch, ...)`.

        Raises:
            ValueError: as `variants`.
        """
        return next(self.variants(images, [()]))

    def variants(self, images: np.ndarray, variants: Iterable[tuple]) -> Iterator[np.ndarray]:
        """Runs the function on several variants of one batch.

        Args:
            images: array `(batch, height, width, channels)`.
            variants: tuples of arrays, further arguments of the function. Those with one entry for
                each image must be filled up, too: see `fill`.

        Yields:
            Array `(batch, ...)` for each variant.

        Raises:
            ValueError: if the network gives NaN, or the function infinite values.
        """
        count, filled = len(images), self.fill(images)
        prepared = filled if self._prepare is None else self._prepare(filled)
        # To the device once for all variants.
        tensors = _tensors(keras.tree.flatten(prepared))
        for variant in variants:
            outputs = self._model.predict_on_batch((*tensors, *_tensors(variant)))
            values = np.asarray(outputs)[:count]
            check_numbers(values)
            yield values

    def fill(self, array: np.ndarray) -> np.ndarray:
        """Returns an array of a batch, its last entry repeated up to the largest batch so far."""
        self._size = max(self._size, len(array))
        missing = self._size - len(array)
        return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing else array


class _Function(keras.Model):
    """A function of tensors as a Keras model, which compiles it and knows its variables."""

    def __init__(self, network, function):
        super().__init__(name="predictor", autocast=False)
        self._network, self._function = network, function
        compile_as(network, self)
        self.build(None)

    def build(self, input_shape):
        self.built = True  # the network has its weights

    def call(self, inputs):
        return self._function(*inputs)


def compile_as(network: keras.Model, model: keras.Model) -> None:
    """Compiles `model` for prediction as `network` is; if that is not compiled, Keras chooses."""
    if getattr(network, "compiled", False):
        model.compile(jit_compile=network.jit_compile, run_eagerly=network.run_eagerly)
    else:
        model.compile(jit_compile="auto")


def _tensors(arrays):
    return [ops.convert_to_tensor(array) for array in arrays]


def check_numbers(values: np.ndarray) -> None:
    """Raises a `ValueError` if a network gave NaN (decisions: -1) or infinite values."""
    valid = values >= 0 if values.dtype.kind == "i" else np.isfinite(values)
    if not valid.all():
        raise ValueError(
            "`model` must give numbers. Received: a model that gives NaN or infinite values"
        )
