"""Parts of an image: halves, the center, boxes, masks."""

import operator

import numpy as np

from keras_gappos.analysis.segmentation import region_slices

HALVES = ("left", "right", "top", "bottom")
REGIONS = (*HALVES, "center")


def region_mask(region, height, width):
    """A region as a boolean mask.

    Args:
        region: `"left"`, `"right"`, `"top"`, `"bottom"`: a half, without the middle column or row
            of an odd number; `"center"`: the rows and columns from a quarter to three quarters; a
            box `(top, left, bottom, right)` in pixels, its bottom row and right column not in it;
            or a boolean array `(height, width)`.
        height, width: of the images, in pixels.

    Returns:
        `(mask, name)`: a boolean array `(height, width)`, and what to call it: the name, the box
        as a list, or a sentence about the mask.

    Raises:
        ValueError: for an unknown region, one that does not fit the images, is empty, or is the
            whole image.

    Example:
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
