"""Scores of segmentations, also by region of the image: IoU, mIoU, pixel accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_gappos.analysis.batches import count_batches, iterate_batches
from keras_gappos.analysis.networks import count_pixel_classes
from keras_gappos.analysis.progress import ProgressBar
from keras_gappos.analysis.regions import PARTS, region_slices
from keras_gappos.arguments import check_label_range, integer, integer_labels, one_of
from keras_gappos.decisions import decide
from keras_gappos.predictions import Predictor


class ConfusionMatrix:
    """Counts of pixels by true and predicted class, and the scores computed from them.

    Args:
        num_classes: number of classes, at least 1.
        ignore_class: label of the pixels to ignore, an integer of at least 0, or `None`. It may be
            one of the classes.

    Attributes:
        matrix: int64 array `(num_classes, num_classes)`; row: true class, column: predicted class.

    Examples:
        >>> confusion = ConfusionMatrix(num_classes=3, ignore_class=3)
        >>> confusion.add(np.array([0, 0, 1, 3]), np.array([0, 1, 1, 2]))
        >>> confusion.iou.tolist()
        [50.0, 50.0, nan]
        >>> confusion.miou
        50.0
    """

    def __init__(self, num_classes: int, ignore_class: int | None = None):
        self.num_classes = integer("num_classes", num_classes, 1)
        if ignore_class is not None:
            ignore_class = integer("ignore_class", ignore_class, 0)
        self.ignore_class = ignore_class
        self.matrix = np.zeros((self.num_classes, self.num_classes), "int64")

    def add(self, truth: Any, predicted: Any) -> None:
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
        counts = truth != self.ignore_class  # True everywhere if that is None
        truth, predicted = truth[counts], predicted[counts]
        check_label_range("truth", truth, self.num_classes, self.ignore_class)
        check_label_range("predicted", predicted, self.num_classes, self.ignore_class)
        pairs = truth.ravel().astype("int64") * self.num_classes + predicted.ravel().astype("int64")
        counted = np.bincount(pairs, minlength=self.num_classes**2)
        self.matrix += counted.reshape(self.matrix.shape)

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union in percent, float64 `(num_classes,)`; NaN for absent classes."""
        both = np.diag(self.matrix)
        either = self.matrix.sum(axis=0) + self.matrix.sum(axis=1) - both
        return 100 * np.divide(both, either, np.full(len(both), np.nan), where=either > 0)

    @property
    def miou(self) -> float:
        """Mean IoU in percent over the classes in truth or prediction; NaN if there are none."""
        iou = self.iou
        present = iou[~np.isnan(iou)]
        return float(present.mean()) if len(present) else float("nan")

    @property
    def accuracy(self) -> float:
        """Percent of the pixels whose class is right; NaN if there are none."""
        count = self.matrix.sum()
        return float(100 * np.trace(self.matrix) / count) if count else float("nan")


class RegionScores:
    """One `ConfusionMatrix` for each of several regions of the image.

    Args:
        num_classes: as in `ConfusionMatrix`.
        ignore_class: as in `ConfusionMatrix`.
        regions: some of `"whole"`, `"left"`, `"right"`, `"top"`, `"bottom"`, as in
            `region_slices`.

    Attributes:
        matrices: dictionary from region to `ConfusionMatrix`.

    Examples:
        >>> scores = RegionScores(num_classes=2)
        >>> scores.add(np.array([[0, 0, 1, 1]]), np.array([[0, 0, 1, 0]]))
        >>> scores.miou["left"], scores.miou["right"]
        (100.0, 25.0)
    """

    def __init__(
        self,
        num_classes: int,
        ignore_class: int | None = None,
        regions: Sequence[str] = ("whole", "left", "right"),
    ):
        if isinstance(regions, str) or not regions:
            raise ValueError(f"`regions` must be some of {PARTS}. Received: regions={regions!r}")
        self.matrices = {
            one_of("regions", region, PARTS): ConfusionMatrix(num_classes, ignore_class)
            for region in regions
        }
        one = next(iter(self.matrices.values()))
        self._num_classes, self._ignore_class = one.num_classes, one.ignore_class

    def __getitem__(self, region: str) -> ConfusionMatrix:
        return self.matrices[region]

    def add(self, truth: Any, predicted: Any) -> None:
        """Counts the pixels of maps `(..., height, width)` of equal shape.

        Raises:
            ValueError: as `ConfusionMatrix.add`, and for arrays that are no maps.
        """
        truth, predicted = integer_labels("truth", truth), integer_labels("predicted", predicted)
        if truth.ndim < 2 or truth.shape != predicted.shape:
            raise ValueError(
                "`truth` and `predicted` must be of one shape (..., height, width). "
                f"Received: shapes {truth.shape} and {predicted.shape}"
            )
        self.add_at(self.places(truth), predicted)

    def places(self, truth: Any) -> np.ndarray:
        """Prepares the truth for `add_at`, once for all predictions of the same images.

        Args:
            truth: integers `(..., height, width)`, each in [0, num_classes) or `ignore_class`.

        Returns:
            int64 array of the same shape: where each pixel's row begins in the table that `add_at`
            counts in. The table has nine parts, for three rows and three columns of the image, the
            middle ones empty or one pixel wide; a part has a row of predicted classes for each true
            class, and one for ignored pixels.
        """
        count = self._num_classes
        labels = integer_labels("truth", truth).astype("int64")
        ignored = labels == self._ignore_class  # False everywhere if that is None
        check_label_range("truth", labels[~ignored], count, self._ignore_class)
        labels[ignored] = count
        rows, columns = (_thirds(length) for length in labels.shape[-2:])
        return count * (labels + (count + 1) * (3 * rows[:, None] + columns))

    def add_at(self, places: np.ndarray, predicted: Any) -> None:
        """Counts pixels whose truth `places` has prepared.

        Args:
            places: from `places`.
            predicted: array of integers of the same shape.

        Raises:
            ValueError: as `add`.
        """
        count = self._num_classes
        predicted = integer_labels("predicted", predicted)
        if predicted.size and not 0 <= predicted.min() <= predicted.max() < count:
            # Where the truth is ignored, anything may be predicted.
            valid = places // count % (count + 1) < count
            check_label_range("predicted", predicted[valid], count, self._ignore_class)
            predicted = np.where(valid, predicted, 0)
        index = predicted.astype("int64")
        index += places
        # One pass over the pixels, whatever the number of regions.
        table = np.bincount(index.ravel(), minlength=9 * (count + 1) * count)
        table = table.reshape(3, 3, count + 1, count)
        for region, matrix in self.matrices.items():
            matrix.matrix += table[region_slices(region, 3, 3)].sum(axis=(0, 1))[:count]

    @property
    def miou(self) -> dict[str, float]:
        """Dictionary from region to mIoU, in percent."""
        return {region: matrix.miou for region, matrix in self.matrices.items()}


def segmentation_scores(
    model: keras.Model,
    images: Any,
    masks: Any = None,
    *,
    ignore_class: int | None = None,
    regions: Sequence[str] = ("whole", "left", "right"),
    threshold: float | None = None,
    batch_size: int = 16,
    progress: bool = True,
) -> RegionScores:
    """Scores a segmentation network on images and their masks, batch by batch.

    Args:
        model: a `keras.Model` from images to one output `(batch, height, width, classes)`, logits
            or probabilities, of the masks' size.
        images: `(n, height, width, channels)` array, or a `tf.data.Dataset`, `PyDataset` or
            iterable of batches `(images, masks)`, in the units that the model takes.
        masks: integers `(n, height, width)` or `(n, height, width, 1)`, for an array of images; a
            data set brings its own.
        ignore_class: label of the pixels that do not count, or `None`.
        regions: as in `RegionScores`.
        threshold: for a model of one output per pixel, the output above which the class is 1.
        batch_size: number of images in a batch, for an array of images.
        progress: whether to show a bar, on a terminal or in a notebook, after more than 3 seconds.

    Returns:
        `RegionScores`: `result["whole"].miou`, `result.miou["left"]`, `result["whole"].iou`.

    Raises:
        ValueError: for a model without such an output or one that gives NaN, a `threshold` that
            does not fit it, missing masks, masks of another size than the output, labels beyond the
            model's classes that are not `ignore_class`, images that are empty or not finite.

    Examples:
        >>> images, masks = keras_gappos.data.load("shapes", "test", limit=4)
        >>> model = keras_gappos.models.deeplabv3((64, 96, 3), 7, depth=18, width=4)
        >>> scores = segmentation_scores(model, images / 255, masks)
        >>> 0 <= scores["whole"].miou <= 100
        True
    """
    num_classes = count_pixel_classes(model, threshold)
    classes_of = Predictor(model, lambda x: decide(model(x, training=False), threshold))
    scores = RegionScores(num_classes, ignore_class, regions)
    with ProgressBar("segmentation", count_batches(images, batch_size), enabled=progress) as bar:
        for x, y in iterate_batches(images, masks, batch_size):
            predicted = classes_of(x)
            scores.add(maps_of(y, predicted.shape), predicted)
            bar.advance()
    return scores


def maps_of(masks: Any, shape: tuple) -> np.ndarray:
    """Masks of a batch as an integer array of the given shape, `(batch, height, width)`.

    Raises:
        ValueError: for no masks, or masks of another shape, but for one more dimension of 1.
    """
    if masks is None:
        raise ValueError("`masks` are needed for a score. Received: masks=None")
    masks = integer_labels("masks", masks)
    if masks.shape == (*shape, 1):
        masks = masks[..., 0]
    if masks.shape != tuple(shape):
        raise ValueError(
            "`masks` must be of the size that the model gives, "
            f"{tuple(shape)}. Received: masks of shape {masks.shape}"
        )
    return masks


def _thirds(length):
    """0, 1 or 2 for each index: in the first half, in the middle of an odd length, in the last."""
    index = np.arange(length)
    return (index >= length // 2).astype(int) + (index >= (length + 1) // 2)
