"""Read images batch by batch from arrays, data sets and other iterables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gappos.arguments import integer


def iterate_batches(
    images: Any, labels: Any = None, batch_size: int = 128
) -> Iterator[tuple[np.ndarray, Any]]:
    """Yields batches of images as NumPy arrays, one at a time.

    Args:
        images: `(n, height, width, channels)` array or tensor (a memory map, too); or a
            `tf.data.Dataset`, a `keras.utils.PyDataset` or any other iterable of batches, each `x`,
            `(x, y)` or `(x, y, sample_weight)`. Sample weights are not used.
        labels: for an array of images, an array with one entry for each; its shape is free beyond
            that (class indices, one-hot, masks). Streams of batches bring their own.
        batch_size: number of images in each batch of an array; the last batch may be smaller.
            Streams keep their own batches.

    Yields:
        `(images, labels)`: an array `(batch, height, width, channels)`, float64 made
        `keras.config.floatx()`, and an array `(batch, ...)` or `None`.

    Raises:
        ValueError: at the first batch that shows it: no images at all, images that are not finite,
            not of rank 4 or not all of one size, labels that do not match them in number, labels
            beside a stream, a stream without end.

    Examples:
        >>> sizes = [len(x) for x, _ in iterate_batches(np.zeros((5, 8, 8, 1)), batch_size=2)]
        >>> sizes
        [2, 2, 1]
    """
    batch_size = integer("batch_size", batch_size, 1)
    stream = _slices(images, labels, batch_size) if is_array(images) else _stream(images, labels)
    shape = None
    for x, y in stream:
        x, y = _to_numpy(x), None if y is None else _to_numpy(y)
        _check_images(x, shape)
        if y is not None and (y.ndim == 0 or len(y) != len(x)):
            raise ValueError(
                "`labels` must have one entry for each image. "
                f"Received: labels of shape {y.shape} for a batch of {len(x)} images"
            )
        if len(x):
            shape = x.shape[1:]
            yield x.astype(keras.config.floatx()) if x.dtype == "float64" else x, y
    if shape is None:
        raise ValueError("There are no images. Received: `images` is empty")


def count_batches(images: Any, batch_size: int = 128) -> int | None:
    """The number of batches that `iterate_batches` will yield; `None` if it is unknown."""
    if is_array(images):
        return -(-len(images) // integer("batch_size", batch_size, 1))
    if isinstance(images, keras.utils.PyDataset):
        return images.num_batches
    try:
        count = int(images.cardinality() if hasattr(images, "cardinality") else len(images))
    except TypeError:
        return None
    return count if count >= 0 else None


def is_array(images: Any) -> bool:
    """Whether the images are one array or tensor, not a stream of batches."""
    return hasattr(images, "shape") and hasattr(images, "dtype")


def _slices(images, labels, batch_size):
    count = len(images)
    if labels is not None:
        labels = _to_numpy(labels)
        if labels.ndim == 0 or len(labels) != count:
            raise ValueError(
                "`labels` must have one entry for each image. "
                f"Received: labels of shape {labels.shape} for {count} images"
            )
    for start in range(0, count, batch_size):
        part = slice(start, start + batch_size)
        yield images[part], None if labels is None else labels[part]


def _stream(batches, labels):
    if labels is not None:
        raise ValueError(
            "`labels` go with an array of images; a data set brings its own, as batches (x, y). "
            f"Received: labels beside a {type(batches).__name__}"
        )
    if isinstance(batches, keras.utils.PyDataset):
        if batches.num_batches is None:
            raise ValueError("`images` must end. Received: a PyDataset without a length")
        batches = map(batches.__getitem__, range(batches.num_batches))
    elif hasattr(batches, "cardinality") and int(batches.cardinality()) == -1:  # tf.data's INFINITE
        raise ValueError("`images` must end; use `.take(count)`. Received: an endless data set")
    elif isinstance(batches, (str, dict)) or not hasattr(batches, "__iter__"):
        raise ValueError(
            "`images` must be an array (n, height, width, channels), a tf.data.Dataset, a "
            f"PyDataset or an iterable of batches. Received: {type(batches).__name__}"
        )
    for batch in batches:
        x, *rest = batch if isinstance(batch, (tuple, list)) else (batch,)
        if len(rest) > 2 or not hasattr(x, "shape"):
            raise ValueError(
                "Each batch of `images` must be x, (x, y) or (x, y, sample_weight), x of shape "
                f"(batch, height, width, channels). Received: {_describe(batch)}"
            )
        yield x, rest[0] if rest else None


def _describe(batch):
    if isinstance(batch, (tuple, list)):
        return f"{type(batch).__name__} of {[type(part).__name__ for part in batch]}"
    return type(batch).__name__


def _to_numpy(values):
    return ops.convert_to_numpy(values) if ops.is_tensor(values) else np.asarray(values)


def _check_images(images, shape):
    if images.ndim != 4:
        raise ValueError(
            "`images` must be of shape (n, height, width, channels), and a data set's must come in "
            f"batches, as `.batch(128)` makes them. Received: shape={images.shape}"
        )
    if shape is not None and images.shape[1:] != shape:
        raise ValueError(
            f"`images` must all be of one size. Received: {images.shape[1:]} after {shape}"
        )
    # NaN goes through both, and neither needs memory of the images' size.
    if images.size and not np.isfinite([images.min(), images.max()]).all():
        raise ValueError("`images` must be finite. Received: NaN or infinite values")
