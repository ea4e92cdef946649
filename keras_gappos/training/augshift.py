"""AugShift: train a classifier to give two shifted copies of an image the same latent."""

from __future__ import annotations

import numbers
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_gappos.arguments import (
    check_class_labels,
    check_images,
    integer,
    one_of,
    only_tensor,
    visible_array,
)
from keras_gappos.decisions import decided_alike, read_head, top1
from keras_gappos.layers.random_shift import FILL_MODES, draw_offsets, shift_images
from keras_gappos.surgery.latent import check_channels_last, find_latent_layer, with_latent
from keras_gappos.training.prepared_model import PreparedModel

# What `prepare` calls a batch of two copies, so that `call` knows it from a batch as it came.
_TWO_COPIES = "two_copies"


class _OfTwoCopies(NamedTuple):
    """What `call` returns for a prepared batch; no other output has this type."""

    outputs: Any
    latents: Any


@keras.saving.register_keras_serializable(package="keras_gappos")
class AugShift(PreparedModel):
    """Trains a classifier that answers the same when its input moves.

    In each training step every image is shifted twice, at random. Both copies go through the
    network in one batch of twice the size and are classified against the label; added to the
    compiled loss is `consistency_weight` times the mean squared difference between the globally
    pooled latent vectors of the two copies. `evaluate`, `predict` and calls are the inner model's.

    `fit` reports, besides the loss and the compiled metrics (over both copies):
    `consistency_loss`, the mean squared difference as it enters the loss, and `shift_agreement`,
    the share of images, in [0, 1], whose two copies have the same top-1 class. For a multi-label
    model (a sigmoid at its end, or a binary cross-entropy) they must have the same label set; with
    a regression loss, or several outputs, there is no `shift_agreement`.

    A `sample_weight`, or `class_weight`, weighs an image's consistency term like its loss. Weights
    of their own for several outputs weigh the losses only.

    Args:
        model: a Functional classifier, or a Sequential one with an Input, of one input
            `(batch, height, width, channels)`. Its output is `(batch, classes)`, logits or
            probabilities; or it has several outputs, each with its loss.
        max_shift: largest shift, in pixels, at least 0 and smaller than the image. Each copy moves
            down and right by independent uniform integers in [-max_shift, max_shift].
        consistency_weight: weight of the consistency term, at least 0.
        latent: the layer that gives the latent vector, or its name; `None` is the model's last
            global pooling layer.
        fill_mode: what comes in at the border: `"constant"` (zeros), `"nearest"`, `"reflect"`
            or `"wrap"`; see `keras_gappos.layers.shift_images`.
        fill_value: the constant, in the images' units.
        seed: integer, or `None`. The same seed gives the same shifts, other ones at each step.

    Raises:
        ValueError: for arguments out of these ranges, or a model that has no global pooling layer,
            several inputs, or an input that is no image; in `fit`, for images of another size
            than the model's input, arrays that are empty or not finite, or labels that are not
            among the model's classes.

    Examples:
        >>> images, labels = keras_gappos.data.load("digits", "train")
        >>> classifier = keras_gappos.models.resnet(18, (8, 8, 1), num_classes=10, width=8)
        >>> model = keras_gappos.AugShift(classifier, max_shift=1)
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("adam", loss, metrics=["accuracy"])
        >>> history = model.fit(images / 255, labels, epochs=2)
        >>> classifier.save("consistent.keras")

    Source: Islam et al., ICCV 2021, section 4 (AugShift); its code was never published.
    """

    def __init__(
        self,
        model: keras.Model,
        max_shift: int = 4,
        consistency_weight: float = 1.0,
        latent: str | keras.layers.Layer | None = None,
        fill_mode: str = "constant",
        seed: int | None = None,
        fill_value: float = 0.0,
        **kwargs,
    ):
        super().__init__(model, seed=seed, **kwargs)
        self.max_shift = integer("max_shift", max_shift, 0, below=_smaller_side(model))
        self.consistency_weight = _finite("consistency_weight", consistency_weight, 0)
        self.fill_mode = one_of("fill_mode", fill_mode, FILL_MODES)
        self.fill_value = _finite("fill_value", fill_value, -np.inf)
        self.latent = None if latent is None else find_latent_layer(model, latent).name
        both = with_latent(model, latent)
        # Inside a function Keras does not find this second model of the inner model's layers.
        self._outputs_and_latents = lambda x, training: both(x, training=training)
        self._consistency = keras.losses.MeanSquaredError(name="consistency")
        self._evaluating = False

    def build(self, input_shape):
        """Makes the metrics of the pairs, once."""
        if self.built:
            return
        self._consistency_tracker = keras.metrics.Mean("consistency_loss")
        self._agreement_tracker = keras.metrics.Mean("shift_agreement")
        super().build(input_shape)

    def prepare(self, x, y, sample_weight, training):
        """In training: two shifted copies of the batch, one after the other."""
        if not training:
            return x, y, sample_weight
        x = only_tensor("x", x)
        self._check_image_shape(x.shape)
        x, y, sample_weight = keras.tree.map_structure(
            lambda part: None if part is None else ops.concatenate([part, part]),
            (x, y, sample_weight),
        )
        offsets = draw_offsets(ops.shape(x)[0], self.max_shift, self.seed_generator)
        return (
            {_TWO_COPIES: shift_images(x, offsets, self.fill_mode, self.fill_value)},
            y,
            sample_weight,
        )

    def call(self, inputs, training=None):
        """The inner model's outputs; for a prepared batch they and the latents."""
        if isinstance(inputs, dict) and _TWO_COPIES in inputs:
            return _OfTwoCopies(*self._outputs_and_latents(inputs[_TWO_COPIES], training))
        return super().call(inputs, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The compiled loss; for a prepared batch with the consistency term."""
        if not isinstance(y_pred, _OfTwoCopies):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        outputs, latents = y_pred
        loss = super().compute_loss(x, y, outputs, sample_weight, training)
        # A Keras loss, since that divides by the number of replicas, which add their gradients.
        consistency = self._consistency(*_copies(latents), _of_first(sample_weight))
        return loss + ops.cast(self.consistency_weight * consistency, loss.dtype)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """The compiled metrics; for a prepared batch with those of the pairs."""
        if not isinstance(y_pred, _OfTwoCopies):
            logs = super().compute_metrics(x, y, y_pred, sample_weight)
            return self._without_pair_metrics(logs)
        outputs, latents = y_pred
        first, second = _copies(latents)
        distances = ops.mean(ops.square(first - second), axis=-1)
        weights = _of_first(sample_weight)
        if weights is not None:
            distances = distances * ops.cast(ops.reshape(weights, (-1,)), distances.dtype)
        self._consistency_tracker.update_state(distances)
        if self._has_agreement:
            head, outputs_of_both = read_head(self), only_tensor("y_pred", outputs)
            by_threshold = head.kind == "labels" or outputs_of_both.shape[-1] == 1
            decided = top1(outputs_of_both, head.threshold if by_threshold else None)
            self._agreement_tracker.update_state(decided_alike(*ops.split(decided, 2)))
        return super().compute_metrics(x, y, outputs, sample_weight)

    def get_metrics_result(self):
        """The metrics' values; those of the pairs in training only."""
        results = super().get_metrics_result()
        if self._evaluating:
            return self._without_pair_metrics(results)
        if not self._has_agreement:
            results.pop(self._agreement_tracker.name)
        return results

    @property
    def _has_agreement(self):
        """Whether the model decides for one class, or one label set, for each image."""
        return len(self.model.outputs) == 1 and read_head(self).kind != "regression"

    def _without_pair_metrics(self, logs):
        pair_metrics = (self._consistency_tracker.name, self._agreement_tracker.name)
        return {name: value for name, value in logs.items() if name not in pair_metrics}

    def fit(self, x=None, y=None, *args, **kwargs):
        """As `keras.Model.fit`, on images and labels."""
        images, labels = visible_array(x), visible_array(y)
        if images is not None:
            check_images(images)
            self._check_image_shape(images.shape)
            if labels is not None and self._takes_class_labels():
                classes = max(2, self.model.output_shape[-1])
                check_class_labels(labels, len(images), classes)
        return super().fit(x, y, *args, **kwargs)

    def evaluate(self, *args, **kwargs):
        """As the inner model's `evaluate`, with the loss and metrics compiled here."""
        self._evaluating = True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self._evaluating = False

    def _takes_class_labels(self):
        loss, *others = keras.tree.flatten(self.loss)
        if others or len(self.model.outputs) > 1:
            return False
        if str(loss).lower() in ("crossentropy", "ce"):  # Keras goes by the labels' shape
            return self.model.output_shape[-1] != 1
        loss = keras.losses.get(loss)
        if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
            return loss.ignore_class is None
        return loss is keras.losses.sparse_categorical_crossentropy

    def _check_image_shape(self, shape):
        expected = self.model.input_shape
        known = len(shape) == 4 and all(
            None in (want, have) or want == have for want, have in zip(expected[1:], shape[1:])
        )
        if not known:
            raise ValueError(
                f"Images must be of the model's input shape {expected}. "
                f"Received: images of shape {tuple(shape)}"
            )
        sides = [side for side in shape[1:3] if side is not None]
        if sides and self.max_shift >= min(sides):
            raise ValueError(
                f"`max_shift` must be smaller than the image, in [0, {min(sides)}). "
                f"Received: max_shift={self.max_shift}, images of shape {tuple(shape)}"
            )

    def get_config(self):
        """The arguments that make this model again."""
        return {
            **super().get_config(),
            "max_shift": self.max_shift,
            "consistency_weight": self.consistency_weight,
            "latent": self.latent,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
        }


def _copies(latents):
    """The latent vectors `(batch, features)` of the first copies and of the second ones."""
    latents = ops.cast(latents, keras.config.floatx())
    return [ops.reshape(half, (ops.shape(half)[0], -1)) for half in ops.split(latents, 2)]


def _of_first(sample_weight):
    """The weights of the first copies; `None` where there are none, or some for each output."""
    weights = keras.tree.flatten(sample_weight)
    return ops.split(weights[0], 2)[0] if len(weights) == 1 and weights[0] is not None else None


def _smaller_side(model):
    """The image's smaller side in pixels, `None` where the model takes any."""
    if len(model.input_shape) != 4:
        raise ValueError(
            "`model` must take images (batch, height, width, channels). "
            f"Received: a model with input shape {model.input_shape}"
        )
    check_channels_last(model)
    return min((side for side in model.input_shape[1:3] if side is not None), default=None)


def _finite(name, value, minimum):
    if not isinstance(value, numbers.Real) or not np.isfinite(value) or value < minimum:
        bounds = "" if minimum == -np.inf else f" of at least {minimum}"
        raise ValueError(f"`{name}` must be a finite number{bounds}. Received: {name}={value!r}")
    return float(value)
