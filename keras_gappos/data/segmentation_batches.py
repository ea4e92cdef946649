"""Training batches for segmentation: image and mask scaled, cropped and mirrored together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_gappos.arguments import integer
from keras_gappos.data.batches import ShuffledBatches
from keras_gappos.data.resizing import checked_size, resize_image, resize_mask


class SegmentationBatches(ShuffledBatches):
    """Shuffled batches of randomly scaled, cropped and mirrored images and masks.

    The order, and how to pass the batches to `fit`, are those of `ShuffledBatches`: epoch e draws
    from `default_rng((seed, e))`; pass `callback` and `shuffle=False`.

    Args:
        images: uint8 `(n, height, width, channels)`, in [0, 255].
        masks: integers `(n, height, width)`.
        batch_size: images in a batch, 1 to n.
        seed: integer, at least 0.
        size: (height, width) of the crops, in pixels; `None` is the images' size.
        scale: (smallest, largest) factor to resize an image by before cropping, drawn uniformly;
            both above 0.
        flip: whether to mirror half of the images left to right, which makes left and right
            indistinguishable.
        ignore_class: label of the pixels outside an image that is smaller than the crop; required
            if scaled images can be.
        fill: color of those pixels, a value in [0, 255] per channel; `None` is the images' mean.

    A batch is float32 images `(batch, *size, channels)` in [0, 1] and int32 masks
    `(batch, *size)`.

    Raises:
        ValueError: for an invalid argument, or masks that do not match the images.

    Examples:
        >>> images, masks = keras_gappos.data.load("shapes", "train", limit=8)
        >>> batches = keras_gappos.data.SegmentationBatches(
        ...     images, masks, batch_size=4, seed=0, size=(48, 48), scale=(0.5, 2.0), ignore_class=7
        ... )
        >>> batches[0][0].shape, batches[0][1].shape
        ((4, 48, 48, 3), (4, 48, 48))
    """

    def __init__(
        self,
        images: np.ndarray,
        masks: np.ndarray,
        batch_size: int,
        seed: int,
        size: Sequence[int] | None = None,
        scale: Sequence[float] = (1.0, 1.0),
        flip: bool = False,
        ignore_class: int | None = None,
        fill: Sequence[int] | np.ndarray | None = None,
    ):
        super().__init__()
        self._images, self._masks = _checked_arrays(images, masks)
        self._batch_size = integer("batch_size", batch_size, 1, below=len(images) + 1)
        self._seed = integer("seed", seed, 0)
        self._size = images.shape[1:3] if size is None else checked_size(size)
        self._scale: tuple[float, float] = _checked_scale(scale)
        self._flip = flip
        self._ignore_class = (
            None if ignore_class is None else integer("ignore_class", ignore_class, 0)
        )
        smallest = scaled_size(images.shape[1:3], self._scale[0])
        if ignore_class is None and any(have < want for have, want in zip(smallest, self._size)):
            raise ValueError(
                f"`ignore_class` is needed: scaled by {self._scale[0]}, an image is {smallest}, "
                f"smaller than the crop, {self._size}. Received: ignore_class=None"
            )
        self._fill = _checked_fill(images, fill)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draws the order, scales, crops and flips of an epoch, counted from 0."""
        rng = np.random.default_rng((self._seed, epoch))
        count = len(self._images)
        order = rng.permutation(count)
        scales = rng.uniform(self._scale[0], self._scale[1], count)
        corners = rng.random((count, 2))
        mirrored = (rng.random(count) < 0.5) & self._flip
        # One assignment: another thread may be making batches.
        self._epoch = order, scales, corners, mirrored

    def __getitem__(self, index):
        batch = self._slice(index)
        images = np.empty((self._batch_size, *self._size, self._images.shape[-1]), "float32")
        masks = np.empty((self._batch_size, *self._size), "int32")
        drawn = zip(*(values[batch] for values in self._epoch))
        for row, (source, scale, corner, mirrored) in enumerate(drawn):
            image, mask = crop_scaled(
                self._images[source],
                self._masks[source],
                scale,
                corner,
                self._size,
                self._fill,
                self._ignore_class,
            )
            columns = slice(None, None, -1 if mirrored else 1)
            images[row], masks[row] = image[:, columns], mask[:, columns]
        images /= 255
        return images, masks


def crop_scaled(
    image: np.ndarray,
    mask: np.ndarray,
    scale: float,
    corner: Sequence[float],
    size: Sequence[int],
    fill: Sequence[int] | np.ndarray | None,
    ignore_class: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scales an image and its mask, and cuts the same crop out of both.

    Args:
        image, mask: uint8 `(height, width, channels)` and integers `(height, width)`.
        scale: factor; the scaled size is rounded to whole pixels.
        corner: two numbers in [0, 1), down and right: the position of the crop between its first
            and its last place or, if the image is smaller, of the image within the crop.
        size: (height, width) of the crop.
        fill, ignore_class: color and label outside the image.

    Returns:
        The crops, `(*size, channels)` and `size`, of the same dtypes.
    """
    scaled = scaled_size(mask.shape, scale)
    new, old = [], []  # slices of the crop; (start, stop) in the unscaled image
    for have, want, place, length in zip(scaled, size, corner, mask.shape):
        start = int(place * (abs(have - want) + 1)) * (1 if have > want else -1)
        first, last = max(start, 0), min(start + want, have)
        new.append(slice(first - start, last - start))
        old.append((first * length / have, last * length / have))
    box = (old[0][0], old[1][0], old[0][1], old[1][1])
    shape = tuple(part.stop - part.start for part in new)
    image, mask = resize_image(image, shape, box), resize_mask(mask, shape, box)
    if shape == tuple(size):
        return image, mask
    whole = (
        np.full((*size, image.shape[-1]), fill, image.dtype),
        np.full(size, ignore_class, mask.dtype),
    )
    whole[0][tuple(new)], whole[1][tuple(new)] = image, mask
    return whole


def scaled_size(size: Sequence[int], scale: float) -> tuple[int, ...]:
    """(height, width) times a factor, in whole pixels, at least 1."""
    return tuple(max(1, round(length * scale)) for length in size)


def _checked_arrays(images, masks):
    if getattr(images, "ndim", None) != 4 or images.dtype != np.uint8:
        raise ValueError(
            "`images` must be uint8 of shape (n, height, width, channels). Received: "
            f"{getattr(images, 'dtype', type(images).__name__)} {getattr(images, 'shape', '')}"
        )
    if not len(images):
        raise ValueError("There are no images. Received: `images` is empty")
    shape, dtype = getattr(masks, "shape", None), getattr(masks, "dtype", np.dtype(object))
    if shape != images.shape[:3] or not np.issubdtype(dtype, np.integer):
        raise ValueError(
            f"`masks` must be integers of shape {images.shape[:3]}, like the images. "
            f"Received: {dtype} {shape}"
        )
    return images, masks


def _checked_scale(scale):
    try:
        smallest, largest = (float(factor) for factor in scale)
    except (TypeError, ValueError):
        smallest = largest = 0.0
    if not 0 < smallest <= largest < float("inf"):
        raise ValueError(
            f"`scale` must be (smallest, largest), both above 0. Received: scale={scale!r}"
        )
    return smallest, largest


def _checked_fill(images, fill):
    if fill is None:
        return np.round(images.mean(axis=(0, 1, 2))).astype("uint8")
    values = np.asarray(fill)
    if values.shape != images.shape[-1:] or not ((values >= 0) & (values <= 255)).all():
        raise ValueError(
            f"`fill` must be {images.shape[-1]} values in [0, 255]. Received: fill={fill!r}"
        )
    return values.astype("uint8")
