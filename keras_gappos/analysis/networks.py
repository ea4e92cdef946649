"""Checks of what a network takes and decides: images into classes, or classes for each pixel."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_gappos.arguments import class_indices
from keras_gappos.decisions import Head, choose_threshold, read_head
from keras_gappos.surgery.latent import check_channels_last


class Decision(NamedTuple):
    """Between what a classifier decides.

    Attributes:
        classes: number of classes, or of labels.
        threshold: as in `keras_gappos.predictions.top1`.
        of_label_sets: whether it decides for a set of labels.
    """

    classes: int
    threshold: float | None
    of_label_sets: bool

    def indices(self, labels: np.ndarray) -> np.ndarray:
        """The true decisions as int64: class indices `(n,)`, or label sets `(n, classes)`.

        Raises:
            ValueError: for labels that do not fit the classes, or the kind of decision.
        """
        multi_hot = labels.shape[1:] == (self.classes,) and np.isin(labels, (0, 1)).all()
        if self.of_label_sets and not multi_hot:
            raise ValueError(
                f"`labels` of a multi-label model must be multi-hot, (n, {self.classes}) of 0 and "
                '1; if its classes exclude one another, give decision="argmax". Received: labels '
                f"of shape {labels.shape}"
            )
        if self.of_label_sets:
            return labels.astype("int64")
        if multi_hot and (labels.sum(axis=1) != 1).any():
            raise ValueError(
                "`labels` are multi-hot, and `model` is scored by its largest output. Of a "
                'multi-label model measure the label sets: decision="threshold", and '
                "threshold=0.0 where it gives logits. Received: labels of shape "
                f"{labels.shape}"
            )
        return class_indices(labels, self.classes)


def check_classifier(
    model: keras.Model,
    image_shape: tuple,
    dtype: Any,
    threshold: float | None = None,
    decision: str = "auto",
    head: Head | None = None,
) -> Decision:
    """Checks that a model is a classifier of such images.

    Args:
        model: any `keras.Model`; it is built if it was not.
        image_shape: `(height, width, channels)`.
        dtype: of the images.
        threshold, decision: as in `keras_gappos.predictions.choose_threshold`.
        head: of the model, where another model than it was compiled.

    Returns:
        The `Decision`.

    Raises:
        ValueError: for a model of several inputs or outputs, an output that is not
            `(batch, classes)`, images of another size than the model's, and as `choose_threshold`.
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
            "that you mean. For a segmentation network use `analysis.segmentation_consistency`. "
            f"Received: a model with outputs of shape {shapes}"
        )
    width = shapes[0][1]
    threshold = choose_threshold(head or read_head(model), width, decision, threshold)
    return Decision(max(width, 2), threshold, width > 1 and threshold is not None)


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
