"""How far apart, in pixels of the input, the pixels of each layer's feature map are."""

from __future__ import annotations

from fractions import Fraction

import keras

from keras_gappos.arguments import pair
from keras_gappos.layers import ResizeLike
from keras_gappos.surgery.graph import Graph, Layer, graph_inputs

_TRANSPOSED = (keras.layers.Conv2DTranspose,)
_RESIZED = (keras.layers.Resizing, ResizeLike)  # to a size that says nothing of a stride

Strides = tuple[Fraction, Fraction] | None


def feature_map_strides(model: keras.Model) -> list[tuple[Layer, tuple[int, int]]]:
    """Finds the layers that output a feature map, and its strides.

    Args:
        model: a Functional or Sequential `keras.Model` of images `(batch, height, width,
            channels)`.

    Returns:
        `(layer, (rows, columns))` for each layer, in the order of the last calls: the step of its
        map's pixels, in pixels of the input. Layers of nested models are listed in their place.
        Not listed: inputs, maps of one pixel or of a step that is no whole number, and whatever
        follows a resizing to a given size.

    Examples:
        >>> model = keras_gappos.models.resnet(18, (32, 32, 3), num_classes=10, width=4)
        >>> layer, strides = feature_map_strides(model)[-1]
        >>> layer.name, strides
        ('stage4_block2_relu2', (8, 8))
    """
    found: dict[Layer, tuple[int, int]] = {}
    _walk(model, [(Fraction(1), Fraction(1))] * len(model.inputs), found)
    return list(found.items())


def _walk(model: keras.Model, given: list[Strides], found: dict) -> list[Strides]:
    """Collects the strides of a model's layers; returns those of its outputs."""
    graph = Graph(model)
    known = dict(zip(map(id, graph.inputs), given))
    for call in graph.calls:
        before = [known.get(id(tensor)) for tensor in call.inputs]
        if graph_inputs(call.layer):
            after = _walk(call.layer, before, found)
        else:
            after = [_after(call.layer, before, output) for output in call.outputs]
            whole = _whole(call.outputs[0], after[0]) if len(after) == 1 else None
            if whole:
                found.pop(call.layer, None)  # of several calls, the last one counts
                found[call.layer] = whole
        known.update(zip(map(id, call.outputs), after))
    return [known.get(id(output)) for output in graph.outputs]


def _after(layer, before, output) -> Strides:
    """The strides of a layer's output, or `None` for one that is no feature map."""
    maps = [strides for strides in before if strides is not None]
    if not maps or len(output.shape) != 4 or isinstance(layer, _RESIZED):
        return None
    rows, columns = max(maps)
    down, right = pair(getattr(layer, "strides", 1))
    if isinstance(layer, _TRANSPOSED):
        down, right = 1 / Fraction(down), 1 / Fraction(right)
    if isinstance(layer, keras.layers.UpSampling2D):
        down, right = (1 / Fraction(size) for size in pair(layer.size))
    return rows * down, columns * right


def _whole(output, strides) -> tuple[int, int] | None:
    """Strides that are whole numbers, of a map of more than one pixel."""
    if strides is None or any(side == 1 for side in output.shape[1:3]):
        return None
    rows, columns = strides
    return (int(rows), int(columns)) if rows.denominator == columns.denominator == 1 else None
