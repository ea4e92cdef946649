"""Shift consistency for `evaluate` and for the validation data of `fit`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gappos.analysis.batches import iterate_batches
from keras_gappos.analysis.consistency.protocols import plan_shifts
from keras_gappos.arguments import integer, one_of
from keras_gappos.decisions import DECISIONS, decided_alike, top1
from keras_gappos.layers import shift_images

_ROUNDING = 1e-2  # by which the sum of soft labels in half precision may miss 1


@keras.saving.register_keras_serializable(package="keras_gappos")
class ShiftConsistencyMetric(keras.metrics.Mean):
    """The percentage of pairs of predictions that agree on the top-1 class.

    Rows 0 and 1 of a batch are a pair, so are rows 2 and 3, and so on: two views of one image, as
    `ShiftPairs` yields them. The metric is meaningless for other data. Where a distribution
    strategy splits batches among replicas, each part must have an even number of rows.

    A metric does not see its model. For a multi-label one give `decision="threshold"`: two rows
    agree if they have the same label set. Without it, multi-hot labels make the metric NaN.

    Args:
        threshold: for a model of one output, the output above which the class is 1: 0.5 after a
            sigmoid, 0.0 for logits; for a multi-label model, above which a label is set. `None`
            for the top-1 class of `(batch, classes)`.
        name: the metric's name.
        dtype: of the metric's result.
        decision: `"argmax"`, `"threshold"` or `"auto"`: by the threshold for one output, the top-1
            class for several, unless their labels show that they are no classes:
            `(batch, classes)` that do not sum to 1.

    Raises:
        ValueError: when called, for predictions that are not `(batch, classes)` with an even batch
            (where that is known while compiling), for one output or `decision="threshold"` without
            a `threshold`, for several outputs with one otherwise.

    Examples:
        >>> metric = keras_gappos.analysis.ShiftConsistencyMetric()
        >>> metric.update_state(None, np.array([[0.1, 0.9], [0.3, 0.7], [0.9, 0.1], [0.2, 0.8]]))
        >>> float(metric.result())
        50.0
    """

    def __init__(
        self,
        threshold: float | None = None,
        name: str = "shift_consistency",
        dtype: Any = None,
        decision: str = "auto",
    ):
        super().__init__(name=name, dtype=dtype)
        self.threshold = threshold
        self.decision = one_of("decision", decision, DECISIONS)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts the pairs of one batch; a pair weighs the mean of its rows' weights."""
        y_pred = ops.convert_to_tensor(y_pred)
        self._check(y_pred.shape)
        decided = top1(y_pred, self.threshold)
        pairs = ops.reshape(decided, (-1, 2, *decided.shape[1:]))
        agree = ops.cast(decided_alike(pairs[:, 0], pairs[:, 1]), self.dtype)
        unknown = ops.any(ops.isnan(y_pred), axis=-1)
        if self.decision == "auto" and self._may_be_multi_hot(y_true, y_pred):
            sums = ops.sum(ops.cast(y_true, "float32"), axis=-1)
            unknown = ops.logical_or(unknown, ops.abs(sums - 1) > _ROUNDING)
        unknown = ops.any(ops.reshape(unknown, (-1, 2)), axis=-1)
        agree = ops.where(unknown, ops.cast(np.nan, self.dtype), agree)
        if sample_weight is not None:
            weights = ops.cast(ops.convert_to_tensor(sample_weight), self.dtype)
            sample_weight = ops.mean(ops.reshape(weights, (-1, 2)), axis=-1)
        super().update_state(agree, sample_weight)

    def result(self):
        """The agreement so far, in percent."""
        return 100 * super().result()

    @staticmethod
    def _may_be_multi_hot(y_true, y_pred):
        shape = getattr(y_true, "shape", ())
        return len(shape) == 2 and shape[1] == y_pred.shape[1] > 1

    def _check(self, shape):
        if len(shape) != 2 or (shape[0] or 0) % 2:
            raise ValueError(
                "Predictions must be of shape (batch, classes), two consecutive rows for each "
                f"image, as `ShiftPairs` makes them. Received: shape={tuple(shape)}"
            )
        by_threshold = shape[1] == 1 or self.decision == "threshold"
        if by_threshold != (self.threshold is not None):
            raise ValueError(
                "`threshold` must be given for a model of one output (0.5 after a sigmoid, 0.0 for "
                'logits) or, with decision="threshold", a multi-label one, and only for such a '
                f"one. Received: threshold={self.threshold}, decision={self.decision!r} for "
                f"predictions of shape {tuple(shape)}"
            )

    def get_config(self):
        """Returns the constructor's arguments."""
        return {**super().get_config(), "threshold": self.threshold, "decision": self.decision}


class ShiftPairs(keras.utils.PyDataset):
    """Two independent random shifts of each image, one after the other.

    For `ShiftConsistencyMetric`: as the data of `evaluate`, or as `validation_data` of `fit`. The
    shifts are those of `shift_consistency` with `protocol="random", pairs=1` and the same seed,
    and the same at each pass.

    Args:
        images: array `(n, height, width, channels)`.
        labels: array `(n, ...)`, one entry for each image, in whatever form the model's loss takes.
        max_shift: largest shift in pixels on each axis, smaller than the image.
        batch_size: number of rows in a batch, even: twice the number of images in it. On several
            replicas, a multiple of twice their number; so should be twice the number of images.
        fill_mode: what comes in at the border: `"constant"`, `"nearest"`, `"reflect"`, `"wrap"`.
        fill_value: the constant, in the images' units.
        seed: integer, at least 0, of the shifts.
        **kwargs: `workers`, `use_multiprocessing`, `max_queue_size`, as `keras.utils.PyDataset`
            takes them.

    Raises:
        ValueError: for images that are empty or not finite, labels that do not match them in
            number, an odd `batch_size`, or another argument out of range.

    Examples:
        >>> images, labels = keras_gappos.data.load("digits", "test")
        >>> model = keras_gappos.models.gapnet((8, 8, 1), num_outputs=10, width=4)
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> metrics = ["accuracy", keras_gappos.analysis.ShiftConsistencyMetric()]
        >>> model.compile(loss=loss, metrics=metrics)
        >>> pairs = keras_gappos.analysis.ShiftPairs(images / 255, labels, max_shift=2)
        >>> sorted(model.evaluate(pairs, verbose=0, return_dict=True))
        ['accuracy', 'loss', 'shift_consistency']
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        max_shift: int = 4,
        batch_size: int = 128,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if integer("batch_size", batch_size, 2) % 2:
            raise ValueError(f"`batch_size` must be even. Received: batch_size={batch_size}")
        self._images, self._labels = np.asarray(images), np.asarray(labels)
        for _ in iterate_batches(self._images, self._labels):
            pass  # it checks them, part by part
        self._half = batch_size // 2
        shape = self._images.shape[1:]
        plan = plan_shifts("random", shape, max_shift, 1, fill_mode, None)
        rng = np.random.default_rng(integer("seed", seed, 0))
        self._offsets = plan.draw(rng, len(self._images)).swapaxes(0, 1)
        self._fill = fill_mode, fill_value
        self[0]  # a fill value that the images cannot hold shows here

    def __len__(self):
        return -(-len(self._images) // self._half)

    def __getitem__(self, index):
        part = slice(index * self._half, (index + 1) * self._half)
        images = np.repeat(self._images[part], 2, axis=0)
        if images.dtype == "float64":
            images = images.astype(keras.config.floatx())
        images = shift_images(images, self._offsets[part].reshape(-1, 2), *self._fill)
        return ops.convert_to_numpy(images), np.repeat(self._labels[part], 2, axis=0)
