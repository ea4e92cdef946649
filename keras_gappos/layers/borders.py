"""Where the pixels beyond the border of a map come from."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_gappos.arguments import Tensor


def border_sources(positions: Tensor, length: Any, border: str, xp: Any = ops) -> Tensor:
    """Returns the index of the pixel of an axis that each position repeats.

    Args:
        positions: integer tensor, any distance beyond the border.
        length: pixels of the axis, at least 1; may be a tensor.
        border: `"replicate"` (`aaa|abcd|ddd`), `"reflect"` (`dcb|abcd|cba`), `"symmetric"`
            (`cba|abcd|dcb`) or `"circular"` (`bcd|abcd|abc`), repeated as often as necessary.
        xp: the functions to use: `keras.ops` or TensorFlow's NumPy.

    Returns:
        Integer tensor of the shape of `positions`, in [0, length).
    """
    if border == "replicate":
        return xp.clip(positions, 0, length - 1)
    # By operators: Keras' functions convert whole numbers by `floatx`.
    period = {
        "circular": length,
        "symmetric": 2 * length,
        "reflect": 2 * length - 2 + 1 // length,  # at least 1
    }[border]
    # The remainder twice, since in ONNX it can be negative.
    phase = (positions % period + period) % period
    if border == "circular":
        return phase
    return xp.minimum(phase, period - (border == "symmetric") - phase)
