"""Scores of segmentations: confusion matrix, IoU, mIoU, pixel accuracy, by region of the image."""

import numpy as np
from keras import ops

from keras_gappos.analysis.batches import count_batches, iterate_batches
from keras_gappos.analysis.pixel_classes import PixelClasses
from keras_gappos.analysis.progress import ProgressBar
from keras_gappos.arguments import integer, one_of

REGIONS = ("whole", "left", "right", "top", "bottom")


class ConfusionMatrix:
    """Counts of pixels by their true and their predicted class, and the scores that follow.

    Args:
        num_classes: number of classes, at least 1.
        void: label of the pixels that do not count, an integer of at least 0, or `None`. It may be
            one of the classes.

    Attributes:
        matrix: int64 array `(num_classes, num_classes)`; row: true class, column: predicted class.

    Example:
        >>> confusion = ConfusionMatrix(num_classes=3, void=3)
        >>> confusion.add(np.array([0, 0, 1, 3]), np.array([0, 1, 1, 2]))
        >>> confusion.iou.tolist()
        [50.0, 50.0, nan]
        >>> confusion.miou
        50.0
    """

    def __init__(self, num_classes, void=None):
        self.num_classes = integer("num_classes", num_classes, 1)
        self.void = None if void is None else integer("void", void, 0)
        self.matrix = np.zeros((self.num_classes, self.num_classes), "int64")

    def add(self, truth, predicted):
        """Counts more pixels.

        Args:
            truth: array of integers of any shape, each in [0, num_classes) or void.
            predicted: array of integers of the same shape; in [0, num_classes) wherever the truth
                is not void.

        Raises:
            ValueError: for labels that are not integers, of different shapes, or out of range;
                nothing is counted then.
        """
        truth, predicted = _labels("truth", truth), _labels("predicted", predicted)
        if truth.shape != predicted.shape:
            raise ValueError(
                "`predicted` must have the shape of `truth`. "
                f"Received: shapes {predicted.shape} and {truth.shape}"
            )
        if self.void is not None:
            counts = truth != self.void
            truth, predicted = truth[counts], predicted[counts]
        self._check_range("truth", truth)
        self._check_range("predicted", predicted)
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

    def _check_range(self, name, labels):
        if not labels.size:
            return
        low, high = labels.min(), labels.max()
        if low < 0 or high >= self.num_classes:
            void = "" if self.void is None else f" or {self.void}, void"
            raise ValueError(
                f"`{name}` must be in [0, {self.num_classes}){void}. "
                f"Received: a label of {low if low < 0 else high}"
            )


class RegionScores:
    """One `ConfusionMatrix` for each of several regions of the image.

    Args:
        num_classes, void: as in `ConfusionMatrix`.
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

    def __init__(self, num_classes, void=None, regions=("whole", "left", "right")):
        if isinstance(regions, str) or not regions:
            raise ValueError(f"`regions` must be some of {REGIONS}. Received: regions={regions!r}")
        self.matrices = {
            one_of("regions", region, REGIONS): ConfusionMatrix(num_classes, void)
            for region in regions
        }

    def __getitem__(self, region):
        return self.matrices[region]

    def add(self, truth, predicted):
        """Counts the pixels of maps `(..., height, width)` of equal shape.

        Raises:
            ValueError: as `ConfusionMatrix.add`, and for arrays that are no maps.
        """
        truth, predicted = _labels("truth", truth), _labels("predicted", predicted)
        if truth.ndim < 2 or truth.shape != predicted.shape:
            raise ValueError(
                "`truth` and `predicted` must be of one shape (..., height, width). "
                f"Received: shapes {truth.shape} and {predicted.shape}"
            )
        for region, matrix in self.matrices.items():
            part = (..., *region_slices(region, *truth.shape[-2:]))
            matrix.add(truth[part], predicted[part])

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
    model,
    images,
    masks=None,
    *,
    void=None,
    regions=("whole", "left", "right"),
    batch_size=16,
    progress=True,
):
    """Scores a segmentation network on images and their masks, batch by batch.

    Args:
        model: a `keras.Model` from images to one output `(batch, height, width, classes)`, logits
            or probabilities, of the masks' size.
        images: `(n, height, width, channels)` array, or a `tf.data.Dataset`, `PyDataset` or
            iterable of batches `(images, masks)`, in the units that the model takes.
        masks: integers `(n, height, width)` or `(n, height, width, 1)`, for an array of images; a
            data set brings its own.
        void: label of the pixels that do not count, or `None`.
        regions: as in `RegionScores`.
        batch_size: number of images in a batch, for an array of images.
        progress: whether to show a progress bar, on a terminal, if it takes more than 3 seconds.

    Returns:
        `RegionScores`: `result["whole"].miou`, `result.miou["left"]`, `result["whole"].iou`.

    Raises:
        ValueError: for a model without such an output or one that gives NaN, missing masks, masks
            of another size than the output, labels beyond the model's classes that are not void,
            images that are empty or not finite.

    Example:
        >>> images, masks = keras_gappos.data.load("shapes", "test", limit=4)
        >>> model = keras_gappos.models.deeplabv3((64, 96, 3), 7, depth=18, width=4)
        >>> scores = segmentation_scores(model, images / 255, masks)
        >>> 0 <= scores["whole"].miou <= 100
        True
    """
    pixels = PixelClasses(model)
    scores = RegionScores(pixels.num_classes, void, regions)
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
    masks = _labels("masks", masks)
    if masks.shape == (*shape, 1):
        masks = masks[..., 0]
    if masks.shape != tuple(shape):
        raise ValueError(
            "`masks` must be of the size that the model gives, "
            f"{tuple(shape)}. Received: masks of shape {masks.shape}"
        )
    return masks


def _labels(name, values):
    """`values` as an array of integers."""
    values = ops.convert_to_numpy(values) if ops.is_tensor(values) else np.asarray(values)
    if values.dtype.kind not in "biu":
        raise ValueError(
            f"`{name}` must be class indices, integers. Received: an array of {values.dtype}"
        )
    return values
