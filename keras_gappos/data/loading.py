"""Data sets by name: embedded ones, and TensorFlow Datasets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np

from keras_gappos.arguments import integer
from keras_gappos.data.resizing import checked_size, resize_image, resize_mask
from keras_gappos.data.shapes import shapes
from keras_gappos.data.tfds import read_tfds

_DIGITS_TRAIN = 1397  # of 1,797; the last 400 are the test split, by writers of their own


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
            (500 images with masks, drawn by `keras_gappos.data.shapes.shapes`); the name of a set
            of TensorFlow Datasets that has images and labels, such as `"cifar10"`, or images and
            masks, such as `"cityscapes"`; or the folder of a set that TFDS prepared, such as
            `"~/data/camvid/1.0.0"`.
        split: `"train"` or `"test"` for the embedded sets, any split expression of TFDS otherwise,
            such as `"train[:90%]"`.
        data_dir: folder of prepared TFDS data sets; a set that is missing there is downloaded into
            it. `None` is TFDS' own folder, `~/tensorflow_datasets`.
        limit: keep only the first images, this many; at least 1; `None` keeps all.
        size: (height, width) in pixels to resize to: images bilinearly, smoothed where they
            shrink, masks to the nearest label; `None` keeps the size.
        target: name of the feature to return with the images, such as `"label"` or
            `"segmentation_label"`; `None` is `"label"` if the set has it, otherwise its only mask.

    Returns:
        `(images, labels)`: uint8 `(n, height, width, channels)` in [0, 255], int64 `(n,)`; or
        `(images, masks)`, masks of an integer dtype `(n, height, width)`. Those of a set that
        `keras_gappos.data.segmentation_info` knows have its classes.

    Raises:
        ValueError: for an unknown name (the nearest is named) or split, a `limit` or `size` below
            1, a data set that has no such features or whose images are not all of one size while
            `size` is `None`.
        FileNotFoundError: for a `data_dir` or a folder that does not exist, or a data set that is
            missing and cannot be downloaded; the message says how to get it.
        ImportError: for a TFDS set, if TensorFlow or TFDS are not installed.

    Example:
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
    """The examples, each resized to `size` unless that is `None`."""
    for image, target in examples:
        if size is not None:
            target = resize_mask(target, size) if np.ndim(target) else target
            image = resize_image(image, size)
        yield image, target


def _stack(name, examples):
    """Arrays of all images and of all labels or masks."""
    images, targets = zip(*examples)
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        raise ValueError(
            "`name` must be a data set whose images are all of one size, or `size` be given. "
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


# name -> (the function that reads it, the target it returns)
EMBEDDED = {"digits": (_digits, "label"), "shapes": (shapes, "segmentation_label")}
