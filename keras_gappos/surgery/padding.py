"""Give an existing network another padding."""

from __future__ import annotations

import collections

import keras

from keras_gappos.arguments import one_of
from keras_gappos.layers import BlurPool2D, Pad2D
from keras_gappos.layers.pad import MODES
from keras_gappos.surgery.copies import in_turn, rebuild_copy
from keras_gappos.surgery.graph import Call, free_name
from keras_gappos.surgery.windows import (
    dense_sides,
    has_window,
    hidden_error,
    hidden_in,
    is_same,
    same_sides,
    window_of,
)
from keras_gappos.surgery.wiring import layers_in, wirings


def set_padding(model: keras.Model, mode: str) -> keras.Model:
    """Returns a network of the same weights whose convolutions and pools pad their maps otherwise.

    That is every convolution and pool of padding "same" and every `ZeroPadding2D` before one, also
    in nested models, and every `Pad2D`; with another mode than `"zeros"` every `BlurPool2D`, too.

    Args:
        model: a Functional or Sequential `keras.Model`; it stays as it is.
        mode: `"zeros"`, which leaves a network that pads with zeros as it is; `"reflect"`,
            `"replicate"` or `"circular"`, as in `Pad2D`.

    Returns:
        A Functional `keras.Model`, not compiled. Its weights are copies, so that fine-tuning it
        does not change `model`. Layers keep their names; the padding of `"conv"` is `"conv_pad"`.

    Raises:
        ValueError: for an unknown mode, a model that has no graph, convolutions or pools inside of
            a layer that has none, and for a map too small to reflect.

    Where a layer of strides and padding "same" meets a map whose size is unknown, how far it pads
    is unknown, too. It is then evaluated at every pixel, and subsampled after that.

    Examples:
        >>> model = keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, weights=None)
        >>> circular = set_padding(model, "circular")
        >>> circular.get_layer("Conv1_pad").mode, circular.count_params() == model.count_params()
        ('circular', True)
    """
    one_of("mode", mode, MODES)
    wired = wirings(model)
    calls: dict[int, list[Call]] = collections.defaultdict(list)
    owners, zero_pads = {}, set()
    for wiring in wired:
        for call in wiring.graph.calls:
            calls[id(call.layer)].append(call)
            owners[id(call.layer)] = wiring.model
            if isinstance(call.layer, keras.layers.ZeroPadding2D) and all(
                reader and has_window(reader.layer) for reader in wiring.readers(call)
            ):
                zero_pads.add(id(call.layer))
    for layer in layers_in(wired).values():
        if mode != "zeros" and (hidden := hidden_in(layer, _pads)):
            raise hidden_error(layer, hidden, "Build it from layers of the model.")

    def pad(layer, sides, name):
        return Pad2D(sides, mode, layer.data_format, name=name, dtype=layer.dtype_policy)

    def replace(layer, copy):
        if isinstance(layer, Pad2D):
            return copy(layer, mode=mode)
        if mode == "zeros":
            return None
        if isinstance(layer, BlurPool2D):
            return copy(layer, padding=mode)
        if id(layer) in zero_pads:
            return pad(layer, layer.padding, layer.name)
        if not _pads(layer):
            return None
        name = free_name(owners[id(layer)], f"{layer.name}_pad")
        sides = {same_sides(call, layer) for call in calls[id(layer)]}
        if len(sides) == 1 and None not in sides:
            return in_turn(pad(layer, sides.pop(), name), copy(layer, padding="valid"))
        window = window_of(layer)
        pick = BlurPool2D(
            1, layer.strides, data_format=layer.data_format, window=window, dtype=layer.dtype_policy
        )
        dense = copy(layer, padding="valid", strides=(1, 1))
        return in_turn(pad(layer, dense_sides(window), name), dense, pick)

    return rebuild_copy(model, replace)


def _pads(layer):
    return has_window(layer) and is_same(layer)
