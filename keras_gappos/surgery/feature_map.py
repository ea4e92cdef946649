"""Find the feature map of a network, and take the network apart there."""

import dataclasses

import keras
from keras import ops

from keras_gappos.surgery.latent import check_channels_last, find_latent_layer
from keras_gappos.surgery.recorded_graph import RecordedGraph

_AVERAGES = (
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
)
_MAXIMA = (
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
)


@dataclasses.dataclass(frozen=True)
class SplitModel:
    """A network in two parts that share its weights.

    Attributes:
        front: Functional model from the network's inputs to a list: the feature map `(batch, ...,
            channels)`, and the tensors that the other part needs besides (skip connections).
        back: Functional model from that list to the network's outputs.
        layer: the global pooling layer that reads the feature map, or the layer that makes it.
    """

    front: keras.Model
    back: keras.Model
    layer: keras.layers.Layer

    @property
    def channels(self):
        """Number of channels of the feature map."""
        return self.front.outputs[0].shape[-1]

    def latent_model(self):
        """A model from the inputs to the globally pooled feature map, float32 `(batch, channels)`.

        Pooled by the maximum where the network's own layer does so, otherwise by the mean.
        """
        features = self.front.outputs[0]
        axes = tuple(range(1, len(features.shape) - 1))
        pool = ops.max if isinstance(self.layer, _MAXIMA) else ops.mean
        return keras.Model(self.front.input, pool(ops.cast(features, "float32"), axis=axes))


def split_at_feature_map(model, latent=None):
    """Takes a network apart at its feature map.

    Args:
        model: a Functional or Sequential `keras.Model`; it stays as it is.
        latent: as in `find_feature_map`.

    Returns:
        A `SplitModel`.

    Raises:
        ValueError: as `find_feature_map`, and if no output depends on the feature map.

    Example:
        >>> parts = split_at_feature_map(keras_gappos.models.gapnet((8, 8, 1), 10, width=4))
        >>> parts.front.output_shape, parts.back.output_shape
        ((None, 1, 1, 10), (None, 10))
    """
    return _split(model, find_feature_map(model, latent))


def _split(model, path):
    layer, *inside = path
    if inside:
        parts = _split(layer, inside)
        graph = RecordedGraph(model, layer, [parts.front, parts.back])
        (features, *_), pooling = graph.tensors_of(parts.front)[1], parts.layer
    else:
        graph = RecordedGraph(model)
        features, pooling = feature_map_tensor(graph, layer), layer
    others = graph.others_needed_after(features)
    crossing = [features, *others]
    stand_ins = [keras.Input(batch_shape=t.shape, dtype=t.dtype) for t in crossing]
    outputs = graph.outputs_with(features, stand_ins[0], dict(zip(map(id, others), stand_ins[1:])))
    # An output that is an input: old releases of Keras take none.
    given = set(map(id, stand_ins))
    outputs = [keras.layers.Identity()(o) if id(o) in given else o for o in outputs]
    inputs = graph.inputs[0] if len(graph.inputs) == 1 else graph.inputs
    front = keras.Model(inputs, crossing, name=f"{model.name}_front")
    back = keras.Model(stand_ins, outputs, name=f"{model.name}_back")
    return SplitModel(front, back, pooling)


def find_feature_map(model, latent=None):
    """Finds the layer that a feature map is named by, in models inside of the model too.

    Args:
        model: a Functional or Sequential `keras.Model`.
        latent: a global pooling layer, whose input is the feature map, or any layer that gives a
            feature map `(batch, ..., channels)`; or its name. `None` means the last global pooling
            layer, in the models inside, too.

    Returns:
        A list of layers: those models, from the outside in, that contain the layer, and the layer.

    Raises:
        ValueError: if there is no such layer, or `model` is neither Functional nor Sequential, or
            not built, or reads its images with the channels first.
    """
    if not _inputs(model):
        raise ValueError(
            "`model` must be a Functional or Sequential keras.Model that knows its inputs; of a "
            f"model that wraps one, give `.model`. Received: {model!r}"
        )
    check_channels_last(model)
    path = _last_pooling(model) if latent is None else _search(model, latent)
    path = path or [find_latent_layer(model, latent)]  # which says what is wrong
    # A backbone or classifier inside stands for its last global pooling layer.
    if _inputs(path[-1]) and len(path[-1].outputs[0].shape) == 2:
        path += _last_pooling(path[-1]) or [find_latent_layer(path[-1])]
    return path


def _last_pooling(model):
    for layer in reversed(model.layers):
        if isinstance(layer, _AVERAGES + _MAXIMA):
            return [layer]
        if _inputs(layer) and (path := _last_pooling(layer)):
            return [layer, *path]
    return None


def _search(model, latent):
    for layer in model.layers:
        if layer is latent or layer.name == latent:
            return [layer]
    inner = [layer for layer in model.layers if _inputs(layer)]
    found = [[layer, *path] for layer in inner if (path := _search(layer, latent))]
    if len(found) > 1:
        names = [layer.name for layer, *_ in found]
        raise ValueError(
            f"`latent` must name one layer; give the layer itself. Received: latent={latent!r}, "
            f"which is in each of {names}"
        )
    return found[0] if found else None


def _inputs(layer):
    """The inputs of a Functional or built Sequential model; `None` for everything else."""
    return getattr(layer, "inputs", None) if isinstance(layer, keras.Model) else None


def feature_map_tensor(graph, layer):
    """The feature map that a layer of a `RecordedGraph` pools, or gives.

    Raises:
        ValueError: if there is none, or more than one.
    """
    inputs, outputs = graph.tensors_of(layer)
    tensors = inputs if isinstance(layer, _AVERAGES + _MAXIMA) else outputs
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


def check_image_shape(model, shape):
    """Raises a `ValueError` unless the model takes images of this shape alone.

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
