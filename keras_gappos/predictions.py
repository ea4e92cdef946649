"""A network's outputs and decisions on batches of images, compiled as the network is."""

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
            the network gives NaN, as `decide` makes them; or floating-point numbers.
        prepare: function of a filled-up batch, run once for all its variants, that returns the
            first arguments of `function`, an array or a list of them; `None`: the images alone.

    Example:
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
            _check_numbers(values)
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


def decision_threshold(model: keras.Model) -> float | None:
    """The output above which a model of one output decides for class 1.

    Returns:
        0.5 after a sigmoid, 0.0 without one (the output is a logit, or the model no classifier),
        `None` for a model of several outputs per sample.
    """
    if model.output_shape[-1] != 1:
        return None
    last = model
    while isinstance(last, keras.Model) and getattr(last, "layers", None):
        last = last.layers[-1]
    activation = getattr(last, "activation", None)
    return 0.5 if activation is keras.activations.sigmoid else 0.0


def top1(outputs: Tensor, threshold: float | None = None) -> Tensor:
    """The class that a classifier decides for.

    Args:
        outputs: tensor `(batch, ..., classes)` of logits or probabilities, or `(batch, ..., 1)`.
        threshold: for one output, the value above which the class is 1.

    Returns:
        int32 tensor `(batch, ...)`.
    """
    if threshold is not None and outputs.shape[-1] == 1:
        return ops.cast(outputs[..., 0] > threshold, "int32")
    return ops.cast(ops.argmax(outputs, axis=-1), "int32")


def decide(outputs: Any, threshold: float | None = None) -> Tensor:
    """The classes that a network of one output decides for, for a `Predictor`.

    Args:
        outputs: what the network gives: one tensor, perhaps in a list or dictionary.
        threshold: as in `top1`.

    Returns:
        int32 tensor `(batch, ...)`; all -1 if the outputs have a NaN, or infinities of both signs.
    """
    (outputs,) = keras.tree.flatten(outputs)
    # One NaN makes the sum NaN, which takes less time than checking each pixel's classes.
    missing = ops.isnan(ops.sum(ops.cast(outputs, "float32")))
    return ops.where(missing, -1, top1(outputs, threshold))


def _tensors(arrays):
    return [ops.convert_to_tensor(array) for array in arrays]


def _check_numbers(values):
    valid = values >= 0 if values.dtype.kind == "i" else np.isfinite(values)
    if not valid.all():
        raise ValueError(
            "`model` must give numbers. Received: a model that gives NaN or infinite values"
        )
