"""Layers that move a window over maps: convolutions and pools, of one grid or another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from keras_gappos.surgery.graph import Layer

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
POOLS = (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
Sides = tuple[int, int]  # pixels before and after


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


def same_padding(length: int, window: int, strides: int = 1) -> Sides:
    """How far `padding="same"` pads an axis."""
    total = max(window - ((length - 1) % strides + 1), 0)
    return total // 2, total - total // 2


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
