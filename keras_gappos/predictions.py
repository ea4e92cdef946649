"""What the package reads out of a user's classifier: its latent vector, and its decision."""

import keras
from keras import ops

_GLOBAL_POOLING = (
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
)


def find_latent_layer(model, latent=None):
    """Finds the layer that gives the model's globally pooled vector.

    Args:
        model: a Functional or Sequential `keras.Model`.
        latent: the layer, or its name; `None` finds the last global pooling layer. A backbone that
            is one layer of `model` and ends in global pooling counts as one.

    Returns:
        A `keras.layers.Layer` of `model.layers`.

    Raises:
        ValueError: if there is no such layer; the message lists the model's layers.
    """
    if latent is None:
        found = [layer for layer in model.layers if _ends_in_global_pooling(layer)]
        wanted = "`model` must have a global pooling layer, or `latent` must name another layer"
    else:
        found = [layer for layer in model.layers if layer is latent or layer.name == latent]
        wanted = "`latent` must be a layer of `model`, its name, or None"
    if not found:
        received = getattr(latent, "name", latent)
        names = [layer.name for layer in model.layers]
        raise ValueError(f"{wanted}. Received: latent={received!r}, model with layers {names}")
    return found[-1]


def with_latent(model, latent=None):
    """Returns a model of the same layers and weights that gives the latent vector as well.

    Args:
        model: a Functional or Sequential `keras.Model` of one output.
        latent: as in `find_latent_layer`.

    Returns:
        A Functional `keras.Model` from the inputs to `(outputs, latents)`; the outputs are a
        dictionary of one tensor where the model's are.

    Raises:
        ValueError: if there is no such layer, or `latent` gives no single tensor.
    """
    layer = find_latent_layer(model, latent)
    seen = []

    def call_and_see(called, *args, **kwargs):
        outputs = called(*args, **kwargs)
        if called is layer:
            seen.append(outputs)
        return outputs

    # Calling the layers once more finds the tensor in this graph, even where the layer is also
    # used elsewhere or is a model of its own, whose `output` belongs to another graph.
    graph = keras.models.clone_model(
        keras.Model(model.inputs, model.outputs),
        clone_function=lambda layer: layer,
        call_function=call_and_see,
    )
    if not seen or not hasattr(seen[-1], "shape"):
        raise ValueError(
            f"`latent` must be a layer that is called and gives one tensor. Received: {layer.name}"
        )
    inputs = graph.inputs[0] if len(graph.inputs) == 1 else graph.inputs
    outputs = graph.outputs[0]
    if isinstance(getattr(model, "output", None), dict):
        outputs = dict.fromkeys(model.output, outputs)
    return keras.Model(inputs, [outputs, seen[-1]])


def check_channels_last(model):
    """Raises a `ValueError` if a layer reads the model's images with the channels first.

    Args:
        model: a Functional or Sequential `keras.Model` of one input.
    """
    shape = model.inputs[0].shape[1:]
    for layer in model.layers:
        if isinstance(layer, keras.Model) and len(getattr(layer, "inputs", None) or ()) == 1:
            if layer.inputs[0].shape[1:] == shape:
                check_channels_last(layer)
        elif (
            getattr(layer, "data_format", None) == "channels_first"
            and layer.input.shape[1:] == shape
        ):
            raise ValueError(
                "`model` must take images (batch, height, width, channels). Received: a model of "
                f"images {model.inputs[0].shape} whose layer {layer.name!r} has "
                "data_format='channels_first'"
            )


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


def _ends_in_global_pooling(layer):
    if isinstance(layer, _GLOBAL_POOLING):
        return True
    nested = getattr(layer, "layers", None)
    return isinstance(layer, keras.Model) and bool(nested) and _ends_in_global_pooling(nested[-1])
