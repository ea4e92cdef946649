"""What a classifier decides for, by its outputs: a class, or a set of labels."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_gappos.arguments import Tensor, one_of

DECISIONS = ("auto", "argmax", "threshold")

# Losses by what they make of a model; names in lower case, without underscores.
_CATEGORICAL = {
    "categoricalcrossentropy",
    "sparsecategoricalcrossentropy",
    "categoricalfocalcrossentropy",
    "categoricalgeneralizedcrossentropy",
    "categoricalhinge",
}
_BINARY = {"binarycrossentropy", "binaryfocalcrossentropy"}
_REGRESSION = {
    "meansquarederror",
    "meanabsoluteerror",
    "meanabsolutepercentageerror",
    "meansquaredlogarithmicerror",
    "huber",
    "logcosh",
    "cosinesimilarity",
}
# Layers that hand on what a sigmoid or softmax before them gives.
_PASSING = (
    keras.layers.Identity,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Reshape,
)


class Head(NamedTuple):
    """What a model's last layer and its compiled loss say about its outputs.

    Attributes:
        kind: `"classes"` (a softmax, or a categorical loss), `"labels"` (a sigmoid, or a binary
            loss: each output is decided by itself), `"regression"`, or `"logits"` if nothing says.
        threshold: 0.5 for outputs that are probabilities, otherwise 0.0.
        reason: what says so, for an error.
    """

    kind: str
    threshold: float
    reason: str


def read_head(model: keras.Model) -> Head:
    """Reads a model's head; one that wraps another as `.model`, as `AugShift` does, counts as it.

    Args:
        model: any `keras.Model`. Of a subclassed one, only the loss is known.
    """
    wrapped = [m for m in (model, getattr(model, "model", None)) if isinstance(m, keras.Model)]
    activation = next((_last_activation(m) for m in wrapped if getattr(m, "inputs", None)), None)
    loss = next((_only_loss(m) for m in wrapped if getattr(m, "compiled", False)), None)
    names = _names(loss)
    from_logits = getattr(loss, "from_logits", not names & _BINARY)
    threshold = 0.5 if activation == "sigmoid" or not from_logits else 0.0
    reason = f"is compiled with the loss {getattr(loss, '__name__', type(loss).__name__)}"
    if activation == "softmax" or names & _CATEGORICAL:
        return Head("classes", threshold, "has a softmax or a categorical loss")
    if names & _REGRESSION:
        return Head("regression", threshold, reason)
    if activation == "sigmoid":
        return Head("labels", threshold, "ends in a sigmoid")
    if names & _BINARY:
        return Head("labels", threshold, reason)
    return Head("logits", threshold, "has no sigmoid at its end")


def choose_threshold(
    head: Head, width: int, decision: str = "auto", threshold: float | None = None
) -> float | None:
    """The threshold by which to decide, `None` for the largest output (argmax).

    Args:
        head: of the model.
        width: the number of the model's outputs for each sample.
        decision: `"argmax"`; `"threshold"`: each output is on or off, several outputs are a label
            set; or `"auto"`, which goes by the head: a threshold for one output and for a
            multi-label head, otherwise argmax.
        threshold: the value above which an output is on; `None` goes by the head.

    Raises:
        ValueError: for a regression model, and where it cannot be known or the arguments do not
            fit one another or the model.
    """
    one_of("decision", decision, DECISIONS)
    given = f"decision={decision!r}, threshold={threshold}"
    if decision == "argmax" and width == 1:
        raise ValueError(
            f'`decision` must be "auto" or "threshold" for a model of one output. Received: {given}'
        )
    auto = decision == "auto" and not (width == 1 and threshold is not None)
    if auto and (head.kind == "regression" or (width == 1 and head.kind == "logits")):
        remedy = (
            "For a binary classifier that gives logits, give threshold=0.0 (for one that gives "
            "probabilities, threshold=0.5)"
            if width == 1
            else 'For a classifier, give decision="argmax"; for a multi-label one, '
            'decision="threshold" and threshold=0.5 for probabilities or 0.0 for logits'
        )
        raise ValueError(
            f"`model` {head.reason}: it looks like a regression model, which decides for no class. "
            f"{remedy}. Received: {given}, a model with output shape (batch, {width})"
        )
    if decision == "argmax" or (auto and width > 1 and head.kind != "labels"):
        if threshold is not None:
            raise ValueError(
                "`threshold` is for models of one output and, with "
                'decision="threshold", multi-label ones; leave it out. '
                f"Received: {given} for a model of {width} outputs"
            )
        return None
    if threshold is None and head.kind != "labels":
        raise ValueError(
            "`threshold` must be given for a model without a sigmoid or a binary cross-entropy: "
            f"0.0 for logits, 0.5 for probabilities. Received: {given}"
        )
    return float(head.threshold if threshold is None else threshold)


def top1(outputs: Tensor, threshold: float | None = None) -> Tensor:
    """The class that a classifier decides for, or the labels that it sets.

    Args:
        outputs: tensor `(batch, ..., classes)` of logits or probabilities, or `(batch, ..., 1)`.
        threshold: the value above which an output is on; `None` decides for the largest.

    Returns:
        int32 tensor `(batch, ...)` of classes; `(batch, ..., classes)` of 0 and 1 for several
        outputs with a threshold.
    """
    if threshold is None:
        return ops.cast(ops.argmax(outputs, axis=-1), "int32")
    on = ops.cast(outputs > threshold, "int32")
    return on[..., 0] if outputs.shape[-1] == 1 else on


def decided_alike(first: Tensor, second: Tensor) -> Tensor:
    """Whether two batches of `top1` decisions are the same: booleans `(batch,)`."""
    same = ops.equal(first, second)
    return ops.all(same, axis=-1) if len(same.shape) == 2 else same  # label sets


def decide(outputs: Any, threshold: float | None = None) -> Tensor:
    """The classes that a network of one output decides for, for a `Predictor`.

    Args:
        outputs: what the network gives: one tensor, perhaps in a list or dictionary.
        threshold: as in `top1`.

    Returns:
        int32 tensor as `top1`; all -1 if the outputs have a NaN, or infinities of both signs.
    """
    (outputs,) = keras.tree.flatten(outputs)
    # One NaN makes the sum NaN, which takes less time than checking each pixel's classes.
    missing = ops.isnan(ops.sum(ops.cast(outputs, "float32")))
    return ops.where(missing, -1, top1(outputs, threshold))


def _last_activation(model):
    """ "softmax", "sigmoid", or `None`: what the last layer or operation that computes applies."""
    last = model
    while isinstance(last, keras.Model) and getattr(last, "layers", None):
        parts = getattr(last, "operations", None) or last.layers
        last = next((part for part in reversed(parts) if not _passes_on(part)), parts[-1])
    name = getattr(getattr(last, "activation", None), "__name__", type(last).__name__.lower())
    return name if name in ("softmax", "sigmoid") else None


def _passes_on(layer):
    linear = getattr(layer, "activation", None) is keras.activations.linear
    return isinstance(layer, _PASSING) or (isinstance(layer, keras.layers.Activation) and linear)


def _only_loss(model):
    """The loss of a compiled model, if there is one and Keras knows it or it has a name."""
    losses = keras.tree.flatten(getattr(model, "loss", None))
    if len(losses) != 1 or losses[0] in (None, "crossentropy", "ce"):
        return None
    return keras.losses.get(losses[0]) if isinstance(losses[0], str) else losses[0]


def _names(loss):
    """The names of a loss and the classes that it extends, without underscores."""
    names = {getattr(loss, "__name__", "")} | {base.__name__ for base in type(loss).__mro__}
    return {name.replace("_", "").lower() for name in names}
