"""Layers that move a window over maps: convolutions and pools, of one grid or another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_gappos.surgery.graph import Call, Layer, graph_inputs

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
POOLS = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
Sides = tuple[tuple[int, int], tuple[int, int]]  # pixels ((top, bottom), (left, right))


def has_window(layer: Layer) -> bool:
    """Whether a layer is a convolution or a pool over height and width."""
    return isinstance(layer, (*CONVOLUTIONS, *POOLS))


def subsamples(layer: Layer) -> bool:
    """Whether a layer is a convolution or pool with strides."""
    return has_window(layer) and max(layer.strides) > 1


def window_of(layer: Layer) -> tuple[int, int]:
    """Height and width that a layer's window covers, in pixels."""
    if isinstance(layer, POOLS):
        return tuple(layer.pool_size)
    height, width = (
        (taps - 1) * dilation + 1 for taps, dilation in zip(layer.kernel_size, layer.dilation_rate)
    )
    return height, width


def is_same(layer: Layer) -> bool:
    """Whether a layer has `padding="same"`, and a window that needs it."""
    return layer.padding.lower() == "same" and max(window_of(layer)) > 1


def same_sides(call: Call, layer: Layer) -> Sides | None:
    """How `padding="same"` of `layer` would pad the map that a call reads; `None` if unknown."""
    first = 1 if layer.data_format == "channels_last" else 2
    sizes = call.inputs[0].shape[first : first + 2]
    if any(size is None and step > 1 for size, step in zip(sizes, layer.strides)):
        return None
    rows, columns = (
        max(window - ((size or 1) - 1) % step - 1, 0)
        for size, window, step in zip(sizes, window_of(layer), layer.strides)
    )
    return _halves(rows), _halves(columns)


def dense_sides(window: tuple[int, int]) -> Sides:
    """How `padding="same"` without strides pads a map."""
    return _halves(window[0] - 1), _halves(window[1] - 1)


def _halves(total):
    return total // 2, total - total // 2


def hidden_in(layer: Layer, wanted: Callable[[Layer], bool]) -> list[str]:
    """The names of the layers inside of a layer that has no graph, which nobody can replace."""
    if wanted(layer) or graph_inputs(layer):
        return []
    return [part.name for part in layers_inside(layer) if wanted(part)]


def hidden_error(layer: Layer, hidden: list[str], remedy: str) -> ValueError:
    """The error for a layer that has layers inside which should be replaced."""
    return ValueError(
        "Convolutions and pools must be layers of a Functional or Sequential model. Received: "
        f"{layer.name!r}, a {type(layer).__name__} that contains {hidden}. {remedy}"
    )


def layers_inside(layer: Any) -> Iterator[Any]:
    """Yields the layers that a layer keeps in its attributes, and those inside of them."""
    seen = {id(layer)}

    def inside(layer):
        for value in list(vars(layer).values()):
            values = value.values() if isinstance(value, dict) else value
            for part in values if isinstance(value, (list, tuple, dict)) else [value]:
                if isinstance(part, keras.layers.Layer) and id(part) not in seen:
                    seen.add(id(part))
                    yield part
                    yield from inside(part)

    yield from inside(layer)
