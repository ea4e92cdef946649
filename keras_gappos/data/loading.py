"""Data sets by name: embedded ones, and TensorFlow Datasets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np

from keras_gappos.arguments import integer
from keras_gappos.data.resizing import checked_size, resize_image, resize_mask
from keras_gappos.data.shapes import shapes
from keras_gappos.data.tfds import read_tfds

_DIGITS_TRAIN = 1397  # of 1,797; the last 400, by other writers, are the test split


def load(
    name: str | os.PathLike,
    split: str,
    data_dir: str | os.PathLike | None = None,
    limit: int | None = None,
    size: Sequence[int] | None = None,
    target: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Loads the images of a data set into memory, with their labels or masks.

    Args:
        name: `"digits"` (1,797 handwritten digits of 8x8, embedded in scikit-learn), `"shapes"`
            (500 images with masks, drawn by `keras_gappos.data.shapes.shapes`); a set of TensorFlow
            Datasets with images and labels, such as `"cifar10"`, or images and masks, such as
            `"cityscapes"`; or the folder of a prepared TFDS set, such as `"~/data/camvid/1.0.0"`.
        split: `"train"` or `"test"` for the embedded sets, otherwise any TFDS split expression,
            such as `"train[:90%]"`.
        data_dir: folder of prepared TFDS data sets; a missing set is downloaded into it. `None` is
            TFDS's default, `~/tensorflow_datasets`.
        limit: number of images to keep, from the first, at least 1; `None` keeps all.
        size: (height, width) in pixels to resize to: images bilinearly with smoothing, masks to the
            nearest label; `None` keeps the size.
        target: name of the feature to return with the images, such as `"label"` or
            `"segmentation_label"`; `None` is `"label"` if the set has it, otherwise its only mask.

    Returns:
        `(images, labels)`: uint8 `(n, height, width, channels)` in [0, 255] and int64 `(n,)`; or
        `(images, masks)`: integer masks `(n, height, width)`, with the classes of
        `keras_gappos.data.segmentation_info` if it lists the set.

    Raises:
        ValueError: for an unknown name (the message suggests the nearest) or split, a `limit` or
            `size` below 1, or a data set without such features or, if `size` is `None`, with images
            of several sizes.
        FileNotFoundError: for a folder that does not exist, or a missing data set that cannot be
            downloaded; the message says how to get it.
        ImportError: for a TFDS set, if TensorFlow or TFDS is not installed.

    Examples:
        >>> images, labels = keras_gappos.data.load("digits", "train", limit=100)
        >>> images.shape
        (100, 8, 8, 1)
    """
    if limit is not None:
        limit = integer("limit", limit, 1)
    if size is not None:
        size = checked_size(size)
    if not isinstance(name, (str, os.PathLike)) or not os.fspath(name):
        raise ValueError(f"`name` must be the name of a data set. Received: name={name!r}")
    name = os.fspath(name)
    if name in EMBEDDED:
        read, only_target = EMBEDDED[name]
        if target not in (None, only_target):
            raise ValueError(
                f"`target` of {name!r} must be {only_target!r}. Received: target={target!r}"
            )
        examples: Iterable = zip(*read(split, limit))
    else:
        examples = read_tfds(name, split, data_dir, limit, target, embedded=tuple(EMBEDDED))
    return _stack(name, _resized(examples, size))


def _resized(examples, size):
    """The examples, resized to `size` unless it is `None`."""
    for image, target in examples:
        if size is not None:
            target = resize_mask(target, size) if np.ndim(target) else target
            image = resize_image(image, size)
        yield image, target


def _stack(name, examples):
    """Stacks the images, and the labels or masks."""
    images, targets = zip(*examples)
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        raise ValueError(
            "`name` must be a data set with images of one size; otherwise set `size`. "
            f"Received: {name!r}, with sizes such as {sorted(sizes)[:3]}"
        )
    if np.ndim(targets[0]) == 0:
        return np.stack(images), np.asarray(targets, dtype="int64")
    return np.stack(images), np.stack(targets)


def _digits(split, limit):
    from sklearn.datasets import load_digits

    splits = {"train": slice(None, _DIGITS_TRAIN), "test": slice(_DIGITS_TRAIN, None)}
    if split not in splits:
        raise ValueError(f"`split` of 'digits' must be 'train' or 'test'. Received: {split!r}")
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype("uint8")[..., None]  # it has 0..16
    return images[splits[split]][:limit], digits.target[splits[split]][:limit]


# name -> (function that reads it, its target)
EMBEDDED = {"digits": (_digits, "label"), "shapes": (shapes, "segmentation_label")}
