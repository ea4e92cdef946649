"""Finds the globally pooled vector, the latent, in a user's model."""

import keras

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


def _ends_in_global_pooling(layer):
    if isinstance(layer, _GLOBAL_POOLING):
        return True
    nested = getattr(layer, "layers", None)
    return isinstance(layer, keras.Model) and bool(nested) and _ends_in_global_pooling(nested[-1])
