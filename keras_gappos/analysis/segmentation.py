"""Scores of segmentations by region of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_gappos.analysis.batches import count_batches, iterate_batches
from keras_gappos.analysis.confusion_matrix import ConfusionMatrix, check_range, integer_labels
from keras_gappos.analysis.pixel_classes import PixelClasses
from keras_gappos.analysis.progress import ProgressBar
from keras_gappos.arguments import one_of

REGIONS = ("whole", "left", "right", "top", "bottom")


class RegionScores:
    """One `ConfusionMatrix` for each of several regions of the image.

    Args:
        num_classes, ignore_class: as in `ConfusionMatrix`.
        regions: some of `"whole"`, `"left"`, `"right"`, `"top"`, `"bottom"`, as in
            `region_slices`.

    Attributes:
        matrices: dictionary from region to `ConfusionMatrix`.

    Example:
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
            raise ValueError(f"`regions` must be some of {REGIONS}. Received: regions={regions!r}")
        self.matrices = {
            one_of("regions", region, REGIONS): ConfusionMatrix(num_classes, ignore_class)
            for region in regions
        }
        one = next(iter(self.matrices.values()))
        self._num_classes, self._ignore_class = one.num_classes, one.ignore_class

    def __getitem__(self, region):
        return self.matrices[region]

    def add(self, truth, predicted):
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

    def places(self, truth):
        """What `add_at` needs of the truth, once for all predictions of the same images.

        Args:
            truth: integers `(..., height, width)`, each in [0, num_classes) or `ignore_class`.

        Returns:
            int64 array of the same shape. The image has nine parts, as on three rows and three
            columns, the middle ones empty or one pixel wide; each part has `num_classes + 1` rows
            of predicted classes, the last one for ignored pixels. These are where a pixel's
            row begins.
        """
        count = self._num_classes
        labels = integer_labels("truth", truth).astype("int64")
        ignored = (
            labels == self._ignore_class
            if self._ignore_class is not None
            else np.zeros(labels.shape, bool)
        )
        check_range("truth", labels[~ignored], count, self._ignore_class)
        labels[ignored] = count
        rows, columns = (_thirds(length) for length in labels.shape[-2:])
        return count * (labels + (count + 1) * (3 * rows[:, None] + columns))

    def add_at(self, places, predicted):
        """Counts pixels, of which `places` tells the truth.

        Args:
            places: from `places`.
            predicted: array of integers of the same shape.

        Raises:
            ValueError: as `add`.
        """
        count = self._num_classes
        predicted = integer_labels("predicted", predicted)
        if predicted.size and not 0 <= predicted.min() <= predicted.max() < count:
            valid = (
                places // count % (count + 1) < count
            )  # where it is ignored, anything may be predicted
            check_range("predicted", predicted[valid], count, self._ignore_class)
            predicted = np.where(valid, predicted, 0)
        index = predicted.astype("int64")
        index += places
        # One pass over the pixels, whatever the number of regions.
        table = np.bincount(index.ravel(), minlength=9 * (count + 1) * count)
        table = table.reshape(3, 3, count + 1, count)
        for region, matrix in self.matrices.items():
            matrix.matrix += table[region_slices(region, 3, 3)].sum(axis=(0, 1))[:count]

    @property
    def miou(self):
        """Dictionary from region to mIoU, in percent."""
        return {region: matrix.miou for region, matrix in self.matrices.items()}


def region_slices(region, height, width):
    """The rows and columns of a region, as two slices.

    The halves mirror each other: of an odd number of rows or columns the middle one is in neither.

    Args:
        region: `"whole"`, `"left"`, `"right"`, `"top"` or `"bottom"`.
        height, width: of the image, in pixels.

    Raises:
        ValueError: for another region.

    Example:
        >>> region_slices("right", 4, 7)
        (slice(0, 4, None), slice(4, 7, None))
    """
    one_of("region", region, REGIONS)
    rows = {"top": slice(0, height // 2), "bottom": slice((height + 1) // 2, height)}
    columns = {"left": slice(0, width // 2), "right": slice((width + 1) // 2, width)}
    return rows.get(region, slice(0, height)), columns.get(region, slice(0, width))


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
        progress: whether to show a progress bar, on a terminal, if it takes more than 3 seconds.

    Returns:
        `RegionScores`: `result["whole"].miou`, `result.miou["left"]`, `result["whole"].iou`.

    Raises:
        ValueError: for a model without such an output or one that gives NaN, a `threshold` that
            does not fit it, missing masks, masks of another size than the output, labels beyond the
            model's classes that are not `ignore_class`, images that are empty or not finite.

    Example:
        >>> images, masks = keras_gappos.data.load("shapes", "test", limit=4)
        >>> model = keras_gappos.models.deeplabv3((64, 96, 3), 7, depth=18, width=4)
        >>> scores = segmentation_scores(model, images / 255, masks)
        >>> 0 <= scores["whole"].miou <= 100
        True
    """
    pixels = PixelClasses(model, threshold)
    scores = RegionScores(pixels.num_classes, ignore_class, regions)
    with ProgressBar("segmentation", count_batches(images, batch_size), enabled=progress) as bar:
        for x, y in iterate_batches(images, masks, batch_size):
            predicted = pixels.decide(x)
            scores.add(maps_of(y, predicted.shape), predicted)
            bar.advance()
    return scores


def maps_of(masks, shape):
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
