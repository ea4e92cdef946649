"""Parts of an image: halves, the center, boxes, masks."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from keras_gappos.arguments import one_of

HALVES = ("left", "right", "top", "bottom")
PARTS = ("whole", *HALVES)
REGIONS = (*HALVES, "center")


def region_slices(region: str, height: int, width: int) -> tuple[slice, slice]:
    """Returns the rows and columns of a region as two slices.

    The halves mirror each other: the middle row or column of an odd number is in neither.

    Args:
        region: `"whole"`, `"left"`, `"right"`, `"top"` or `"bottom"`.
        height, width: of the image, in pixels.

    Raises:
        ValueError: for another region.

    Examples:
        >>> region_slices("right", 4, 7)
        (slice(0, 4, None), slice(4, 7, None))
    """
    one_of("region", region, PARTS)
    rows = {"top": slice(0, height // 2), "bottom": slice((height + 1) // 2, height)}
    columns = {"left": slice(0, width // 2), "right": slice((width + 1) // 2, width)}
    return rows.get(region, slice(0, height)), columns.get(region, slice(0, width))


def region_mask(region: Any, height: int, width: int) -> tuple[np.ndarray, str | list[int]]:
    """Returns a region as a boolean mask.

    Args:
        region: `"left"`, `"right"`, `"top"`, `"bottom"`: a half, without the middle column or row
            of an odd number; `"center"`: the rows and columns from a quarter to three quarters; a
            box `(top, left, bottom, right)` in pixels, its bottom row and right column not in it;
            or a boolean array `(height, width)`.
        height, width: of the images, in pixels.

    Returns:
        `(mask, name)`: a boolean array `(height, width)`, and the region's name, its box as a
        list, or a description of the mask.

    Raises:
        ValueError: for an unknown region, one that does not fit the images, is empty, or is the
            whole image.

    Examples:
        >>> region_mask((0, 1, 2, 3), height=2, width=3)[0].astype(int).tolist()
        [[0, 1, 1], [0, 1, 1]]
    """
    if isinstance(region, str):
        mask, name = _named(region, height, width), region
    elif hasattr(region, "dtype") and np.asarray(region).dtype.kind == "b":
        mask = np.asarray(region)
        if mask.shape != (height, width):
            raise ValueError(
                f"A mask as `region` must be of the images' size, {(height, width)}. "
                f"Received: a mask of shape {mask.shape}"
            )
        name = f"mask of {mask.sum()} of {mask.size} pixels"
    else:
        mask, name = _box(region, height, width)
    if not mask.any() or mask.all():
        kind = "the whole image" if mask.any() else "empty"
        raise ValueError(
            f"`region` must be a part of the image. Received: region={name!r}, which is {kind} "
            f"for images of {height}x{width} pixels"
        )
    return mask, name


def _named(region, height, width):
    if region not in REGIONS:
        raise ValueError(
            f'`region` must be "overall", one of {REGIONS}, a box (top, left, bottom, right) or a '
            f"boolean mask (height, width). Received: region={region!r}"
        )
    mask = np.zeros((height, width), dtype=bool)
    if region == "center":
        mask[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    else:
        mask[region_slices(region, height, width)] = True
    return mask


def _box(region, height, width):
    try:
        top, left, bottom, right = box = [operator.index(edge) for edge in region]
    except (TypeError, ValueError):
        raise ValueError(
            "A box as `region` must be four integers (top, left, bottom, right), a mask an array "
            f"of booleans. Received: region={region!r}"
        ) from None
    if not (0 <= top <= bottom <= height and 0 <= left <= right <= width):
        raise ValueError(
            "A box as `region` must be (top, left, bottom, right) with 0 <= top < bottom <= "
            f"{height} and 0 <= left < right <= {width}, the images' size. "
            f"Received: region={tuple(box)}"
        )
    mask = np.zeros((height, width), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask, box
