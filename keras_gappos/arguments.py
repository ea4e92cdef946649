"""Argument checks, whose errors name the argument, its value and what is allowed.

Keras is imported where it is used: settings are checked, and `--help` is shown, without it.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

# A NumPy array, a tensor of the backend or a `keras.KerasTensor`.
Tensor = Any


def integer(name: str, value: Any, minimum: int, below: int | None = None) -> int:
    """Returns `value` as an `int`, if it is an integer (or a NumPy integer) in [minimum, below).

    Raises:
        ValueError: if it is not; the message names the argument.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < minimum or (below is not None and number >= below):
        bounds = f"of at least {minimum}" if below is None else f"in [{minimum}, {below})"
        raise ValueError(f"`{name}` must be an integer {bounds}. Received: {name}={value!r}")
    return number


def pair(value: Any) -> tuple | list:
    """Returns a tuple or list as it is, and anything else twice: for height and for width."""
    return value if isinstance(value, (tuple, list)) else (value, value)


def one_of(name: str, value: Any, choices: Iterable) -> Any:
    """Returns `value`, if it is one of `choices`.

    Raises:
        ValueError: if it is not; the message names the argument, the choices and the nearest one.
    """
    choices = tuple(choices)
    if value not in choices:
        near = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
        hint = f". Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}{hint}")
    return value


def check_at_least(settings: Any, minimum: float, *names: str) -> None:
    """Raises a `ValueError` if one of these settings is below `minimum`; `None` passes."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not value >= minimum:
            raise ValueError(f"`{name}` must be at least {minimum}. Received: {name}={value}")


def check_above_zero(settings: Any, *names: str) -> None:
    """Raises a `ValueError` if one of these settings is not above 0."""
    for name in names:
        value = getattr(settings, name)
        if not value > 0:
            raise ValueError(f"`{name}` must be above 0. Received: {name}={value}")


def check_each_once(settings: Any, *names: str) -> None:
    """Raises a `ValueError` if one of these tuples is empty or repeats a value."""
    for name in names:
        values = getattr(settings, name)
        if not values or len(set(values)) < len(values):
            raise ValueError(
                f"`{name}` must name one or more, each once. Received: {name}={values}"
            )


def check_seed(settings: Any) -> None:
    """Raises a `ValueError` if `seed` is out of range."""
    if not 0 <= settings.seed < 2**32 - 1:
        raise ValueError(f"`seed` must be in [0, 2**32 - 1). Received: seed={settings.seed}")


def only_tensor(name: str, values: Any) -> Tensor:
    """Returns the one tensor in `values`, which Keras also accepts in a list or dictionary."""
    import keras

    tensors = keras.tree.flatten(values)
    if len(tensors) != 1:
        raise ValueError(
            f"`{name}` must be one array or tensor. Received: a structure of {len(tensors)}"
        )
    return tensors[0]


def visible_array(values: Any) -> np.ndarray | None:
    """Returns an array or tensor, alone or in a list or dictionary, as a NumPy array.

    `None` for anything whose values cannot be read in advance, such as a stream.
    """
    import keras

    leaves = keras.tree.flatten(values)
    if len(leaves) != 1:
        return None
    (values,) = leaves
    if keras.ops.is_tensor(values):
        return keras.ops.convert_to_numpy(values)
    return values if isinstance(values, np.ndarray) else None


def check_images(images: np.ndarray) -> None:
    """Raises a `ValueError` if there is no image, or one with a NaN or infinite value."""
    if not len(images):
        raise ValueError(f"There are no images. Received: x of shape {images.shape}")
    if not np.isfinite([images.min(), images.max()]).all():
        raise ValueError("Images must be finite. Received: x with NaN or infinite values")


def check_class_labels(labels: np.ndarray, count: int, classes: int) -> None:
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
    _check_label_range("Labels", labels, classes)


def class_indices(labels: Any, classes: int) -> np.ndarray:
    """Returns labels as class indices, int64 `(n,)`.

    Args:
        labels: array `(n,)` or `(n, 1)` of class indices, or `(n, classes)`, one-hot.
        classes: number of classes.

    Raises:
        ValueError: for labels of another shape, soft ones, or ones outside [0, classes).
    """
    values = np.asarray(labels)
    if values.shape[1:] == (classes,):
        if not (np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all()):
            raise ValueError(
                "`labels` must be class indices, or one-hot. Received: labels of shape "
                f"{values.shape} that are not all 0 but for one 1; give `labels.argmax(-1)`"
            )
        return values.argmax(axis=1)
    if values.shape[1:] not in ((), (1,)):
        raise ValueError(
            f"`labels` must be of shape (n,), class indices, or (n, {classes}), one-hot. "
            f"Received: labels of shape {values.shape}"
        )
    values = values.reshape(-1)
    _check_label_range("`labels`", values, classes)
    return values.astype("int64")


def integer_labels(name: str, values: Any) -> np.ndarray:
    """`values`, an array or tensor, as a NumPy array; a `ValueError` if they are no integers."""
    import keras

    is_tensor = keras.ops.is_tensor(values)
    values = keras.ops.convert_to_numpy(values) if is_tensor else np.asarray(values)
    if values.dtype.kind not in "biu":
        raise ValueError(
            f"`{name}` must be class indices, integers. Received: an array of {values.dtype}"
        )
    return values


def check_label_range(
    name: str, labels: np.ndarray, num_classes: int, ignore_class: int | None
) -> None:
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


def _check_label_range(name, labels, classes):
    if not np.isin(labels, np.arange(classes)).all():
        raise ValueError(
            f"{name} must be integers in [0, {classes}), the model's classes. "
            f"Received: labels from {labels.min()} to {labels.max()}, dtype={labels.dtype}"
        )
