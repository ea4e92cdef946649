"""The images and labels of an experiment, normalized."""

import dataclasses

import numpy as np

from keras_gappos import data
from keras_gappos.experiments.engine.settings import check_one_batch


@dataclasses.dataclass(frozen=True)
class TrainAndTestImages:
    """Images `(n, height, width, channels)`, to train and to score on."""

    train_images: np.ndarray
    test_images: np.ndarray

    @property
    def image_shape(self):
        """`(height, width, channels)` of one image."""
        return self.train_images.shape[1:]

    def describe(self):
        """What a row of results says of the data, a dictionary."""
        return {
            "train_images": len(self.train_images),
            "test_images": len(self.test_images),
            "image_shape": list(self.image_shape),
            "num_classes": self.num_classes,
        }


@dataclasses.dataclass(frozen=True)
class ImageData(TrainAndTestImages):
    """Images float32 `(n, height, width, channels)`, labels int64 `(n,)`."""

    train_labels: np.ndarray
    test_labels: np.ndarray
    mean: list
    std: list

    @property
    def num_classes(self):
        """Number of classes: one more than the largest label."""
        return int(max(self.train_labels.max(), self.test_labels.max())) + 1

    def describe(self):
        """What a row of results says of the data, a dictionary."""
        return {**super().describe(), "mean": self.mean, "std": self.std}


def load_images(settings):
    """Loads what the settings name: [0, 1], or mean 0 and standard deviation 1 in each channel.

    Args:
        settings: an experiment's settings, of which these are used: `dataset`, `data_dir`,
            `train_images`, `test_images`, `batch_size`, `normalize`.

    Returns:
        An `ImageData`; its `mean` was subtracted from the images, which were then divided by `std`.

    Raises:
        ValueError: if there are fewer training images than one batch; see also
            `keras_gappos.data.load`.
    """

    train_images, train_labels = _load(settings, "train", settings.train_images)
    test_images, test_labels = _load(settings, "test", settings.test_images)
    check_one_batch(len(train_images), settings.batch_size)
    mean, std = _normalize(settings, train_images, test_images)
    return ImageData(train_images, test_images, train_labels, test_labels, mean, std)


def load_training_images(settings):
    """As `load_images`, without ever reading the test images.

    Returns:
        `(images, labels)`.
    """
    images, labels = _load(settings, "train", settings.train_images)
    _normalize(settings, images)
    return images, labels


def _load(settings, split, limit):
    images, labels = data.load(settings.dataset, split, settings.data_dir, limit, target="label")
    return images.astype("float32") / 255, labels


def _normalize(settings, images, *others):
    """Normalizes arrays in place by the first one's `mean` and `std`, which it returns."""
    channels = images.shape[-1]
    mean, std = np.zeros(channels), np.ones(channels)
    if settings.normalize:
        mean = images.mean((0, 1, 2), dtype="float64")
        std = np.maximum(images.std((0, 1, 2), dtype="float64"), 1e-6)
    mean, std = mean.round(6), std.round(6)
    for array in (images, *others):
        array -= mean.astype("float32")
        array /= std.astype("float32")
    return mean.tolist(), std.tolist()
