"""The street scenes of the attack, or what else the settings name."""

import colorsys
import dataclasses

import keras
import numpy as np

from keras_gappos import data
from keras_gappos.analysis.regions import region_slices
from keras_gappos.data.segmentation_sets import INFOS, SegmentationInfo, plain_name
from keras_gappos.experiments.engine.data import TrainAndTestImages
from keras_gappos.experiments.engine.settings import check_one_batch


@dataclasses.dataclass(frozen=True)
class SegmentationData(TrainAndTestImages):
    """Images uint8 `(n, height, width, channels)`, masks integers `(n, height, width)`.

    Attributes:
        info: classes, colors and ignored label, never `None`, so that crops have a label for
            what lies beyond an image.
    """

    train_masks: np.ndarray
    test_masks: np.ndarray
    info: SegmentationInfo

    @property
    def num_classes(self):
        """Number of classes."""
        return self.info.num_classes

    def describe(self):
        """What a row of results says of the data, a dictionary."""
        return {**super().describe(), "class_names": list(self.info.class_names)}


class ImagesInOrder(keras.utils.PyDataset):
    """Batches of images in [0, 1] with their masks, in order; the last one may be smaller.

    Args:
        images: uint8 `(n, height, width, channels)`.
        masks: integers `(n, height, width)`.
        batch_size: images in a batch.
        batch_end: function of nothing, called when a batch was read, or `None`.
    """

    def __init__(self, images, masks, batch_size, batch_end=None):
        super().__init__()
        self._images, self._masks, self._batch_size = images, masks, batch_size
        self._batch_end = batch_end

    def __len__(self):
        return -(-len(self._images) // self._batch_size)

    def __getitem__(self, index):
        batch = slice(index * self._batch_size, (index + 1) * self._batch_size)
        if self._batch_end is not None:
            self._batch_end()
        return self._images[batch].astype("float32") / 255, self._masks[batch]


def load_segmentation(settings):
    """Loads what the settings name.

    Args:
        settings: an `AttackSettings`.

    Returns:
        A `SegmentationData`.

    Raises:
        ValueError: if the data set has no masks, test masks with a whole half ignored, or fewer
            training images than the one batch that a training needs; see also
            `keras_gappos.data.load`.
    """

    def load(split, limit):
        images, masks = data.load(
            settings.dataset, split, settings.data_dir, limit, size=settings.size
        )
        if masks.ndim != 3:
            raise ValueError(
                "`dataset` must be a data set with masks, such as shapes, camvid or cityscapes. "
                f"Received: dataset={settings.dataset!r}, whose images have one label each"
            )
        return images, masks

    train_images, train_masks = load(settings.train_split, settings.train_images)
    test_images, test_masks = load(settings.scored_split, settings.test_images)
    if settings.weights is None:
        check_one_batch(len(train_images), settings.batch_size)
    info = _info(settings, (train_masks, test_masks))
    for masks in (train_masks, test_masks):
        found = np.unique(masks[masks != info.ignore_class])
        if not len(found) or found.min() < 0 or found.max() >= info.num_classes:
            raise ValueError(
                f"`num_classes` and `ignore_class` must fit the masks: labels in "
                f"[0, {info.num_classes}), or {info.ignore_class} to ignore. "
                f"Received: a data set with labels {found[:30].tolist()}"
            )
    for half in ("left", "right"):
        region = (..., *region_slices(half, *test_masks.shape[1:]))
        if (test_masks[region] == info.ignore_class).all():
            raise ValueError(
                f"The test masks must have a class in both halves. "
                f"Received: only ignored pixels in {half!r}"
            )
    return SegmentationData(train_images, test_images, train_masks, test_masks, info)


def _info(settings, all_masks):
    """The classes of a known data set, or those that its masks and the settings tell."""
    info = INFOS.get(plain_name(settings.dataset))
    if info is not None:
        if settings.num_classes is not None or settings.ignore_class is not None:
            raise ValueError(
                f"`num_classes` and `ignore_class` of {settings.dataset!r} are known: leave them "
                f"out. Received: num_classes={settings.num_classes}, "
                f"ignore_class={settings.ignore_class}"
            )
        return info
    count = settings.num_classes
    if count is None:
        labels = np.unique(np.concatenate([np.unique(masks) for masks in all_masks]))
        count = int(max(labels[labels != settings.ignore_class], default=0)) + 1
    names = tuple(f"class {index}" for index in range(count))
    ignored = count if settings.ignore_class is None else settings.ignore_class
    return SegmentationInfo(count, names, distinct_colors(count), ignored)


def distinct_colors(count):
    """Distinct colors, (red, green, blue) in [0, 255] each, bright and dark in turn."""
    hues = (
        colorsys.hsv_to_rgb(0.618 * index % 1, 0.65, 0.95 if index % 2 else 0.55)
        for index in range(count)
    )
    return tuple(tuple(round(255 * part) for part in color) for color in hues)


def distinct_scenes(masks, count):
    """The scenes of a figure: the first one, and each further one as unlike the others as can be.

    Args:
        masks: integers `(n, height, width)`, n at least 1.
        count: number of scenes, at most.

    Returns:
        Array of indices, in order: the next scene is the one of which most pixels have another
        label than in the scene chosen before that is most like it.

    Examples:
        >>> street, same, park = [[1, 1, 2]], [[1, 1, 2]], [[3, 1, 4]]
        >>> distinct_scenes(np.array([street, same, park]), 2).tolist()
        [0, 2]
    """
    step = max(1, min(masks.shape[1:]) // 32)  # a coarse look is enough
    coarse, chosen = masks[:, ::step, ::step], [0]
    unlike = np.ones(len(masks))
    for _ in range(count - 1):
        unlike = np.minimum(unlike, (coarse != coarse[chosen[-1]]).mean(axis=(1, 2)))
        chosen.append(int(unlike.argmax()))
    return np.unique(chosen)
