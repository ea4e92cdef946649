"""Scores of segmentations: confusion matrix, IoU, mIoU, pixel accuracy."""

from __future__ import annotations

import numpy as np
from keras import ops

from keras_gappos.arguments import integer


class ConfusionMatrix:
    """Counts of pixels by their true and their predicted class, and the scores that follow.

    Args:
        num_classes: number of classes, at least 1.
        ignore_class: label of the pixels to ignore, an integer of at least 0, or `None`. It may be
            one of the classes.

    Attributes:
        matrix: int64 array `(num_classes, num_classes)`; row: true class, column: predicted class.

    Example:
        >>> confusion = ConfusionMatrix(num_classes=3, ignore_class=3)
        >>> confusion.add(np.array([0, 0, 1, 3]), np.array([0, 1, 1, 2]))
        >>> confusion.iou.tolist()
        [50.0, 50.0, nan]
        >>> confusion.miou
        50.0
    """

    def __init__(self, num_classes: int, ignore_class: int | None = None):
        self.num_classes = integer("num_classes", num_classes, 1)
        self.ignore_class = (
            None if ignore_class is None else integer("ignore_class", ignore_class, 0)
        )
        self.matrix = np.zeros((self.num_classes, self.num_classes), "int64")

    def add(self, truth, predicted):
        """Counts more pixels.

        Args:
            truth: array of integers of any shape, each in [0, num_classes) or `ignore_class`.
            predicted: array of integers of the same shape; in [0, num_classes) wherever the truth
                is not `ignore_class`.

        Raises:
            ValueError: for labels that are not integers, of different shapes, or out of range;
                nothing is counted then.
        """
        truth, predicted = integer_labels("truth", truth), integer_labels("predicted", predicted)
        if truth.shape != predicted.shape:
            raise ValueError(
                "`predicted` must have the shape of `truth`. "
                f"Received: shapes {predicted.shape} and {truth.shape}"
            )
        if self.ignore_class is not None:
            counts = truth != self.ignore_class
            truth, predicted = truth[counts], predicted[counts]
        check_range("truth", truth, self.num_classes, self.ignore_class)
        check_range("predicted", predicted, self.num_classes, self.ignore_class)
        pairs = truth.ravel().astype("int64") * self.num_classes + predicted.ravel().astype("int64")
        counted = np.bincount(pairs, minlength=self.num_classes**2)
        self.matrix += counted.reshape(self.matrix.shape)

    @property
    def iou(self):
        """Percent, float64 `(num_classes,)`: pixels in truth and prediction, of those in either.

        NaN for a class that is in neither.
        """
        both = np.diag(self.matrix)
        either = self.matrix.sum(axis=0) + self.matrix.sum(axis=1) - both
        return 100 * np.divide(both, either, np.full(len(both), np.nan), where=either > 0)

    @property
    def miou(self):
        """Percent, the mean IoU over the classes that are in truth or prediction; NaN for none."""
        iou = self.iou
        present = iou[~np.isnan(iou)]
        return float(present.mean()) if len(present) else float("nan")

    @property
    def accuracy(self):
        """Percent of the pixels whose class is right; NaN without pixels."""
        count = self.matrix.sum()
        return float(100 * np.trace(self.matrix) / count) if count else float("nan")


def integer_labels(name, values):
    """`values`, an array or tensor, as a NumPy array; a `ValueError` if they are no integers."""
    values = ops.convert_to_numpy(values) if ops.is_tensor(values) else np.asarray(values)
    if values.dtype.kind not in "biu":
        raise ValueError(
            f"`{name}` must be class indices, integers. Received: an array of {values.dtype}"
        )
    return values


def check_range(name, labels, num_classes, ignore_class):
    """Raises a `ValueError` for a label that is no class; the message names `ignore_class`."""
    if not labels.size:
        return
    low, high = labels.min(), labels.max()
    if low < 0 or high >= num_classes:
        ignored = "" if ignore_class is None else f" or {ignore_class}, ignored"
        raise ValueError(
            f"`{name}` must be in [0, {num_classes}){ignored}. "
            f"Received: a label of {low if low < 0 else high}"
        )
