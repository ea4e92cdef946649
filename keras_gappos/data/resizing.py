"""Resize images smoothly, and masks without inventing labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_gappos.arguments import integer


def checked_size(size: Any, name: str = "size") -> tuple[int, int]:
    """`size` as a pair of integers (height, width), each at least 1.

    Raises:
        ValueError: if it is not; the message names the argument.
    """
    try:
        height, width = size
    except (TypeError, ValueError):
        raise ValueError(
            f"`{name}` must be (height, width), in pixels. Received: {name}={size!r}"
        ) from None
    return integer(f"{name}[0]", height, 1), integer(f"{name}[1]", width, 1)


def resize_image(
    image: np.ndarray, size: Sequence[int], box: Sequence[float] | None = None
) -> np.ndarray:
    """Resizes an image bilinearly, with smoothing where it shrinks.

    Pixel centers are at half-integers: new pixel i of n samples position (i + 1/2) * old / n of the
    old image, with a triangle filter two pixels wide, old or new, whichever are larger.

    Args:
        image: uint8 `(height, width, channels)`.
        size: (height, width) of the new image, in pixels.
        box: the part of the image to resize, (top, left, bottom, right) in pixels, possibly
            fractional; `None` is the whole image. Pixels just outside the box contribute, so that
            the result equals that part of the whole resized image.

    Returns:
        uint8 `(*size, channels)`.

    Examples:
        >>> resize_image(np.array([[[0], [200]]], "uint8"), (1, 4)).flatten().tolist()
        [0, 50, 150, 200]
    """
    from PIL import Image

    if image.shape[-1] != 3:  # Pillow supports one channel or three
        channels = [_resize(Image.fromarray(c), size, box) for c in np.moveaxis(image, -1, 0)]
        return np.stack(channels, axis=-1)
    return _resize(Image.fromarray(image), size, box)


def _resize(picture, size, box):
    from PIL import Image

    if box is not None:
        box = (box[1], box[0], box[3], box[2])
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR, box))


def resize_mask(
    mask: np.ndarray, size: Sequence[int], box: Sequence[float] | None = None
) -> np.ndarray:
    """Resizes a mask to the nearest label, in the coordinates of `resize_image`.

    New pixel i of n is the old pixel that contains its center, (i + 1/2) * old / n; on a border,
    the later one.

    Args:
        mask: integers `(height, width)`.
        size: (height, width) of the new mask, in pixels.
        box: as in `resize_image`.

    Returns:
        Array `size` of the mask's dtype.

    Examples:
        >>> resize_mask(np.array([[1, 2, 3, 4, 5, 6]]), (1, 2)).tolist()
        [[2, 5]]
    """
    top, left, bottom, right = box or (0, 0, *mask.shape)
    rows = _nearest(top, bottom, size[0], mask.shape[0])
    columns = _nearest(left, right, size[1], mask.shape[1])
    return mask[rows[:, None], columns]


def _nearest(start, stop, new, old):
    centers = start + (np.arange(new) + 0.5) * ((stop - start) / new)
    # Rounding errors must not move a center across a border.
    return np.clip(np.floor(centers + 1e-6).astype(int), 0, old - 1)
