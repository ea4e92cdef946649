"""Find a model's latent, the globally pooled vector, and the feature map that is pooled."""

from __future__ import annotations

import difflib

import keras

from keras_gappos.surgery.graph import Graph, graph_inputs, with_outputs_of

MAX_POOLING = (
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
)
GLOBAL_POOLING = (
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
    *MAX_POOLING,
)
_LISTED = 20  # layers in an error


def find_latent_layer(
    model: keras.Model, latent: str | keras.layers.Layer | None = None
) -> keras.layers.Layer:
    """Finds the layer that outputs a model's latent vector.

    Args:
        model: a Functional or Sequential `keras.Model`.
        latent: the layer or its name, also in a nested model; `None` finds the last global pooling
            layer. A backbone that is one layer of `model` and ends in global pooling counts as one.

    Returns:
        A `keras.layers.Layer` of `model`, or of a model that is one of its layers.

    Raises:
        ValueError: if there is no such layer; the message lists the model's last layers.
    """
    if latent is None:
        found = [layer for layer in model.layers if _ends_in_global_pooling(layer)]
        found = found or _last_pooling(model)
        wanted = "`model` must have a global pooling layer, or `latent` must name another layer"
    else:
        found = _search(model, latent, "latent")
        wanted = "`latent` must be a layer of `model`, its name, or None"
    if not found:
        received = getattr(latent, "name", latent)
        raise ValueError(
            f"{wanted}. Received: latent={received!r}, model with {_listed_layers(model)}"
        )
    return found[-1]


def find_feature_map(
    model: keras.Model, latent: str | keras.layers.Layer | None = None
) -> list[keras.layers.Layer]:
    """Finds the layer that names a feature map, in nested models, too.

    Args:
        model: a Functional or Sequential `keras.Model`.
        latent: a global pooling layer, whose input is the feature map; any layer that outputs a
            feature map `(batch, ..., channels)`; or the name of either. `None` is the last global
            pooling layer or, of a model without any whose only output is a feature map `(batch,
            height, width, channels)` (`include_top=False`), the layer that gives it.

    Returns:
        A list of layers: the nested models that contain the layer, outermost first, and the layer.

    Raises:
        ValueError: if there is no such layer, or `model` is neither Functional nor Sequential, is
            not built, or takes images with the channels first.
    """
    check_graph(model)
    check_channels_last(model)
    if latent is None:
        path = _last_pooling(model) or _layer_of_output(model)
    else:
        path = _search(model, latent, "latent")
    path = path or [find_latent_layer(model, latent)]  # which says what is wrong
    # A nested backbone or classifier stands for its last global pooling layer.
    if graph_inputs(path[-1]) and len(path[-1].outputs[0].shape) == 2:
        path += find_latent(path[-1])
    return path


def find_latent(model: keras.Model) -> list[keras.layers.Layer]:
    """Finds a model's last global pooling layer, in nested models, too.

    Returns:
        A list of layers: the nested models that contain the layer, outermost first, and the layer.

    Raises:
        ValueError: if there is none; the message lists the model's last layers.
    """
    return _last_pooling(model) or [find_latent_layer(model)]


def find_layer(
    model: keras.Model, layer: str | keras.layers.Layer, argument: str
) -> list[keras.layers.Layer]:
    """Finds any layer, in nested models, too.

    Args:
        model: a Functional or Sequential `keras.Model`.
        layer: the layer or its name.
        argument: the argument that means the layer, for the error.

    Returns:
        A list of layers: the nested models that contain the layer, outermost first, and the layer.

    Raises:
        ValueError: if there is no such layer, or several in nested models have this name.
    """
    path = _search(model, layer, argument)
    if path is None:
        name = str(getattr(layer, "name", layer))
        near = difflib.get_close_matches(name, _names(model), n=1)
        raise ValueError(
            f"`{argument}` must be a layer of `model`, or its name. Received: {argument}={name!r}, "
            f"model with {_listed_layers(model)}" + (f". Did you mean {near[0]!r}?" if near else "")
        )
    return path


def check_graph(model: keras.Model) -> None:
    """Raises a `ValueError` unless `model` is a Functional or built Sequential model."""
    if not graph_inputs(model):
        raise ValueError(
            "`model` must be a Functional or Sequential keras.Model that knows its inputs; of a "
            f"model that wraps one, give `.model`. Received: {model!r}"
        )


def feature_map_tensor(graph: Graph, layer: keras.layers.Layer) -> keras.KerasTensor:
    """Returns the feature map that a layer of a graph pools or, if it does not pool, outputs.

    Raises:
        ValueError: if there is none or more than one, or the channels are not the last axis.
    """
    call = graph.call_of(layer)
    tensors = call.inputs if isinstance(layer, GLOBAL_POOLING) else call.outputs
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if len(tensors) != 1 or len(shapes[0]) < 3 or shapes[0][-1] is None:
        raise ValueError(
            "`latent` must be a global pooling layer, or a layer that gives one feature map "
            "(batch, height, width, channels), the channels known. "
            f"Received: {layer.name!r} with {shapes}"
        )
    if getattr(layer, "data_format", None) == "channels_first":
        raise ValueError(
            "Channels must be the last axis. Received: `latent` of "
            f'data_format="channels_first", {layer.name!r}'
        )
    return tensors[0]


def with_latent(model: keras.Model, latent: str | keras.layers.Layer | None = None) -> keras.Model:
    """Returns a model of the same layers and weights that also outputs the latent vector.

    Args:
        model: a Functional or Sequential `keras.Model`.
        latent: as in `find_latent_layer`. If the layer is called several times, its last call.

    Returns:
        A Functional `keras.Model` from the inputs to `(outputs, latents)`, the outputs in the
        structure of the model's.

    Raises:
        ValueError: if there is no such layer, or it does not output a single tensor.
    """
    layer = find_latent_layer(model, latent)
    both = with_outputs_of(model, [layer])
    if len(keras.tree.flatten(both.output[1])) != 1:
        raise ValueError(f"`latent` must be a layer that gives one tensor. Received: {layer.name}")
    return both


def check_channels_last(model: keras.Model) -> None:
    """Raises a `ValueError` if a layer reads the model's images with the channels first.

    Args:
        model: a Functional or Sequential `keras.Model` of one input.
    """
    shape = model.inputs[0].shape[1:]
    for layer in model.layers:
        if len(graph_inputs(layer) or ()) == 1:
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


def _listed_layers(model):
    names = [layer.name for layer in model.layers]
    listed = "layers" if len(names) <= _LISTED else f"{len(names)} layers, the last of them"
    return f"{listed} {names[-_LISTED:]}"


def _names(model):
    """The names of all layers, of nested models, too."""
    inner = (name for layer in model.layers if graph_inputs(layer) for name in _names(layer))
    return [*(layer.name for layer in model.layers), *inner]


def _is(layer, latent):
    return layer is latent or layer.name == latent


def _ends_in_global_pooling(layer):
    if isinstance(layer, GLOBAL_POOLING):
        return True
    nested = getattr(layer, "layers", None)
    return isinstance(layer, keras.Model) and bool(nested) and _ends_in_global_pooling(nested[-1])


def _last_pooling(model):
    for layer in reversed(model.layers):
        if isinstance(layer, GLOBAL_POOLING):
            return [layer]
        if graph_inputs(layer) and (path := _last_pooling(layer)):
            return [layer, *path]
    return None


def _layer_of_output(model):
    """The path to what gives a model's only output, if that is a feature map."""
    if len(model.outputs) != 1 or len(model.outputs[0].shape) != 4:
        return None
    graph = Graph(model)
    given = (call.layer for call in graph.calls if graph.outputs[0] is call.outputs[0])
    layer = next(given, None)  # `None`: the output is the input
    if layer is None:
        return None
    return [layer, *(_layer_of_output(layer) or [])] if graph_inputs(layer) else [layer]


def _search(model, wanted, argument):
    for layer in model.layers:
        if _is(layer, wanted):
            return [layer]
    inner = [layer for layer in model.layers if graph_inputs(layer)]
    found = [[layer, *path] for layer in inner if (path := _search(layer, wanted, argument))]
    if len(found) > 1:
        names = [layer.name for layer, *_ in found]
        raise ValueError(
            f"`{argument}` must name one layer; give the layer itself. Received: "
            f"{argument}={wanted!r}, which is in each of {names}"
        )
    return found[0] if found else None
