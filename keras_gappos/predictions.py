"""A classifier's decision, read from its outputs."""

import keras
from keras import ops


def decision_threshold(model):
    """The output above which a model of one output says "yes".

    Returns:
        0.5 after a sigmoid, 0.0 without one (the output is a logit, or the model no classifier),
        `None` for a model of several outputs per sample.
    """
    if model.output_shape[-1] != 1:
        return None
    last = model
    while isinstance(last, keras.Model) and getattr(last, "layers", None):
        last = last.layers[-1]
    activation = getattr(last, "activation", None)
    return 0.5 if activation is keras.activations.sigmoid else 0.0


def top1(outputs, threshold=None):
    """The class that a classifier decides for.

    Args:
        outputs: tensor `(batch, classes)` of logits or probabilities, or `(batch, 1)`.
        threshold: for one output, the value above which the class is 1.

    Returns:
        int32 tensor `(batch,)`.
    """
    if threshold is not None and outputs.shape[-1] == 1:
        return ops.cast(outputs[..., 0] > threshold, "int32")
    return ops.cast(ops.argmax(outputs, axis=-1), "int32")
