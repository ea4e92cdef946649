"""Checks of what a network takes and decides: images into classes, or classes for each pixel."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_gappos.predictions import decision_threshold
from keras_gappos.surgery.latent import check_channels_last


def check_classifier(
    model: keras.Model, image_shape: tuple, dtype: Any, threshold: float | None = None
) -> tuple[int, float | None]:
    """Checks that a model is a classifier of such images.

    Args:
        model: any `keras.Model`; it is built if it was not.
        image_shape: `(height, width, channels)`.
        dtype: of the images.
        threshold: for a model of one output, the value above which the class is 1.

    Returns:
        `(classes, threshold)`: the number of classes, and the threshold to use.

    Raises:
        ValueError: for a model of several inputs or outputs, an output that is not
            `(batch, classes)`, images of another size than the model's, one output without a
            sigmoid where `threshold` is `None`, a `threshold` for several outputs.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: {type(model).__name__}")
    if getattr(model, "inputs", None):  # a subclassed model has none
        check_image_shape(model, image_shape)
        check_channels_last(model)
    images = keras.KerasTensor((None, *image_shape), dtype=np.dtype(dtype).name)
    try:
        outputs = keras.tree.flatten(model(images, training=False))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`model` must take `images`. Received: images of shape {tuple(image_shape)}, dtype "
            f"{images.dtype}, for which the model raises: {error}"
        ) from error
    shapes = [tuple(output.shape) for output in outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise ValueError(
            "`model` must give one output (batch, classes); make a keras.Model of the output "
            f"that you mean. Received: a model with outputs of shape {shapes}"
        )
    width = shapes[0][1]
    if width == 1:
        return 2, _binary_threshold(model) if threshold is None else float(threshold)
    if threshold is not None:
        raise ValueError(
            "`threshold` is for models of one output; leave it out. "
            f"Received: threshold={threshold} for a model of {width} outputs"
        )
    return width, None


def count_pixel_classes(model: keras.Model, threshold: float | None = None) -> int:
    """The number of classes between which a segmentation network decides for each pixel.

    Raises:
        ValueError: for a model that has not one output `(batch, height, width, classes)`, one
            output per pixel without a threshold, or several with one.
    """
    outputs = keras.tree.flatten(getattr(model, "outputs", None) or [])
    shapes = [tuple(output.shape) for output in outputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or not shapes[0][-1]:
        raise ValueError(
            "`model` must be a keras.Model with one output (batch, height, width, classes). "
            f"Received: {model!r} with outputs of shape {shapes}"
        )
    if (shapes[0][-1] == 1) != (threshold is not None):
        raise ValueError(
            "`threshold` is needed for a segmentation network of one output per pixel (0.0 for "
            "logits, 0.5 for probabilities), and for no other. "
            f"Received: threshold={threshold}, outputs of shape {shapes[0]}"
        )
    return max(shapes[0][-1], 2)


def check_image_shape(model: keras.Model, shape: tuple) -> None:
    """Raises a `ValueError` unless a model takes only images, and these may have this shape.

    Args:
        model: a Functional or Sequential `keras.Model`.
        shape: `(height, width, channels)`.
    """
    expected = [tuple(tensor.shape)[1:] for tensor in model.inputs]
    if len(expected) != 1:
        raise ValueError(
            f"`model` must take images alone. Received: a model with inputs of shapes {expected}"
        )
    same = len(expected[0]) == len(shape)
    if not same or any(want not in (None, have) for want, have in zip(expected[0], shape)):
        raise ValueError(
            f"`images` must be of the shape that `model` takes, {expected[0]}. "
            f"Received: images of shape {tuple(shape)}"
        )


def _binary_threshold(model):
    """The threshold of a classifier of one output, which may be wrapped as `.model`."""
    wrapped = (model, getattr(model, "model", None))
    graphs = [m for m in wrapped if isinstance(m, keras.Model) and getattr(m, "inputs", None)]
    threshold = decision_threshold(graphs[0]) if graphs else 0.0
    if threshold != 0.5:
        raise ValueError(
            "`model` has one output and no sigmoid at its end: it looks like a regression model. "
            "For a binary classifier that gives logits, give threshold=0.0 (for one that gives "
            f"probabilities, threshold=0.5). Received: model={model.name!r}, threshold=None"
        )
    return threshold
