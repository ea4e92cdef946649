"""Labels of a classification, in the forms that Keras losses take."""

import numpy as np


def class_indices(labels, classes):
    """Labels as class indices.

    Args:
        labels: array `(n,)` or `(n, 1)` of class indices, or `(n, classes)`, one-hot.
        classes: number of classes.

    Returns:
        int64 array `(n,)`.

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
    if not np.isin(values, np.arange(classes)).all():
        raise ValueError(
            f"`labels` must be integers in [0, {classes}), the model's classes. "
            f"Received: labels from {values.min()} to {values.max()}, dtype={values.dtype}"
        )
    return values.astype("int64")
