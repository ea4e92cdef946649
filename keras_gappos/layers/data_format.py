"""Which axis of an image holds the channels: Keras' `data_format`."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_gappos.arguments import Tensor, one_of

# For each data format, the axes in the order (batch, height, width, channels), and back again.
_TO_LAST = {"channels_last": (0, 1, 2, 3), "channels_first": (0, 2, 3, 1)}
_FROM_LAST = {"channels_last": (0, 1, 2, 3), "channels_first": (0, 3, 1, 2)}


def standardize_data_format(data_format: str | None) -> str:
    """Returns `data_format`, if it is one; for `None` the one of `keras.config`."""
    return one_of("data_format", data_format or keras.config.image_data_format(), _TO_LAST)


def require_channels_last(name: str) -> None:
    """Raises a `ValueError` if Keras is set to images with the channels first.

    Args:
        name: what supports only channels last.
    """
    if keras.config.image_data_format() == "channels_first":
        raise ValueError(
            f"`{name}` takes images (batch, height, width, channels). Received: "
            "keras.config.image_data_format()='channels_first'. Call "
            "`keras.config.set_image_data_format('channels_last')`, or set it in keras.json."
        )


def check_rank(name: str, shape: tuple) -> None:
    """Raises a `ValueError` unless the input of a layer of this name, channels last, has rank 4."""
    if len(shape) != 4:
        raise ValueError(
            f"{name!r} needs an input of shape (batch, height, width, channels), or "
            f"(batch, channels, height, width). Received: shape={shape}"
        )


def to_channels_last(images: Tensor, data_format: str) -> Tensor:
    """Returns images of `data_format`, of rank 4, as (batch, height, width, channels)."""
    return (
        images if data_format == "channels_last" else ops.transpose(images, _TO_LAST[data_format])
    )


def from_channels_last(images: Tensor, data_format: str) -> Tensor:
    """Undoes `to_channels_last`."""
    if data_format == "channels_last":
        return images
    return ops.transpose(images, _FROM_LAST[data_format])


def shape_to_channels_last(shape: tuple, data_format: str) -> tuple[Any, ...]:
    """As `to_channels_last`, of a shape; one that is not of rank 4 stays as it is."""
    return tuple(shape[i] for i in _TO_LAST[data_format]) if len(shape) == 4 else tuple(shape)


def shape_from_channels_last(shape: tuple, data_format: str) -> tuple[Any, ...]:
    """Undoes `shape_to_channels_last`."""
    return tuple(shape[i] for i in _FROM_LAST[data_format])
