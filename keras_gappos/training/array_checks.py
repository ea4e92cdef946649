"""Checks of training data that can be made before training: arrays and tensors, not streams."""

import keras
import numpy as np
from keras import ops


def only_tensor(name, values):
    """The tensor of a batch's part, which Keras also takes as a list or dictionary of one."""
    tensors = keras.tree.flatten(values)
    if len(tensors) != 1:
        raise ValueError(
            f"`{name}` must be one array or tensor. Received: a structure of {len(tensors)}"
        )
    return tensors[0]


def visible_array(values):
    """Arrays and tensors, alone or in a list or dictionary of one, as NumPy arrays.

    `None` for what cannot be seen, such as a stream.
    """
    leaves = keras.tree.flatten(values)
    if len(leaves) != 1:
        return None
    (values,) = leaves
    if ops.is_tensor(values):
        return ops.convert_to_numpy(values)
    return values if isinstance(values, np.ndarray) else None


def check_images(images):
    """Raises a `ValueError` if there is no image, or one with a NaN or infinite value."""
    if not len(images):
        raise ValueError(f"There are no images. Received: x of shape {images.shape}")
    if not np.isfinite([images.min(), images.max()]).all():
        raise ValueError("Images must be finite. Received: x with NaN or infinite values")


def check_class_labels(labels, count, classes):
    """Raises a `ValueError` unless there are `count` labels, integers in [0, classes).

    One-hot and soft labels, which have a second dimension, are only counted.
    """
    if len(labels) != count:
        raise ValueError(
            f"There must be a label for each image. Received: {len(labels)} labels for "
            f"{count} images"
        )
    if labels.ndim > 1 and labels.shape[1:] != (1,):
        return
    if not np.isin(labels, np.arange(classes)).all():
        raise ValueError(
            f"Labels must be integers in [0, {classes}), the model's classes. "
            f"Received: labels from {labels.min()} to {labels.max()}, dtype={labels.dtype}"
        )
