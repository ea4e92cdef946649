"""Split a network at its feature map."""

from __future__ import annotations

import dataclasses

import keras
from keras import ops

from keras_gappos.surgery.graph import Graph, rebuild
from keras_gappos.surgery.latent import MAX_POOLING, feature_map_tensor, find_feature_map


@dataclasses.dataclass(frozen=True)
class SplitModel:
    """A network in two parts that share its weights.

    Attributes:
        front: Functional model from the network's inputs to a list: the feature map `(batch, ...,
            channels)` and the other tensors that `back` needs (skip connections).
        back: Functional model from that list to the network's outputs.
        layer: the global pooling layer that reads the feature map, or the layer that outputs it.
    """

    front: keras.Model
    back: keras.Model
    layer: keras.layers.Layer

    @property
    def channels(self) -> int:
        """Number of channels of the feature map."""
        return self.front.outputs[0].shape[-1]

    def latent_model(self) -> keras.Model:
        """A model from the inputs to the globally pooled feature map, float32 `(batch, channels)`.

        Pooled by the maximum if the network's own layer does so, otherwise by the mean.
        """
        features = self.front.outputs[0]
        axes = tuple(range(1, len(features.shape) - 1))
        pool = ops.max if isinstance(self.layer, MAX_POOLING) else ops.mean
        return keras.Model(self.front.input, pool(ops.cast(features, "float32"), axis=axes))


def split_at_feature_map(
    model: keras.Model, latent: str | keras.layers.Layer | None = None
) -> SplitModel:
    """Splits a network at its feature map.

    Args:
        model: a Functional or Sequential `keras.Model`; it stays as it is.
        latent: as in `find_feature_map`.

    Returns:
        A `SplitModel`.

    Raises:
        ValueError: as `find_feature_map`, and if no output depends on the feature map.

    Examples:
        >>> parts = split_at_feature_map(keras_gappos.models.gapnet((8, 8, 1), 10, width=4))
        >>> parts.front.output_shape, parts.back.output_shape
        ((None, 1, 1, 10), (None, 10))
    """
    return _split(model, find_feature_map(model, latent))


def _split(model, path):
    layer, *inside = path
    if inside:
        parts = _split(layer, inside)
        graph = Graph(rebuild(model, lambda each: _in_sequence(parts) if each is layer else None))
        features, layer = graph.call_of(parts.front).outputs[0], parts.layer
    else:
        graph = Graph(model)
        features = feature_map_tensor(graph, layer)
    others = graph.others_needed_after(features)
    crossing = [features, *others]
    stand_ins = [keras.Input(batch_shape=t.shape, dtype=t.dtype) for t in crossing]
    front = keras.Model(graph.input, crossing, name=f"{model.name}_front")
    outputs = graph.outputs_with(features, stand_ins[0], zip(others, stand_ins[1:]))
    # An output that is an input: old releases of Keras take none.
    given = set(map(id, stand_ins))
    outputs = [keras.layers.Identity()(o) if id(o) in given else o for o in outputs]
    back = keras.Model(stand_ins, outputs, name=f"{model.name}_back")
    return SplitModel(front, back, layer)


def _in_sequence(parts):
    """A function that calls the front, then the back, as the whole model is called."""

    def call(*args, **kwargs):
        tensors = keras.tree.flatten(args[0] if args else kwargs["inputs"])
        kwargs = {key: value for key, value in kwargs.items() if key == "training"}
        for part in (parts.front, parts.back):
            packed = tensors[0] if len(tensors) == 1 else tensors
            tensors = keras.tree.flatten(part(packed, **kwargs))
        return tensors

    return call
