"""The protocols of measuring consistency: which shifts they draw."""

from __future__ import annotations

import dataclasses

import numpy as np

from keras_gappos.arguments import integer, one_of
from keras_gappos.layers.random_shift import FILL_MODES

PROTOCOLS = ("random", "exact", "aps", "crop")

_DEFAULT_MAX_SHIFT = {"random": 4, "exact": 4, "aps": 3, "crop": 31}
_DEFAULT_FILL_MODE = {"random": "constant", "exact": "constant", "aps": "wrap", "crop": None}


@dataclasses.dataclass(frozen=True)
class ShiftPlan:
    """Which shifts a protocol draws for a batch.

    Attributes:
        protocol: `"random"`, `"exact"`, `"aps"` or `"crop"`; see `shift_consistency`.
        max_shift: the range's size in pixels, as given or the protocol's own.
        rows: the possible offsets down, in pixels, a `range`.
        columns: the possible offsets to the right, in pixels, a `range`.
        pairs: number of pairs drawn for each image; `None` for "exact", which draws none.
        fill_mode: what comes in at the border; `None` for "crop", where nothing does.
        crop_size: `(height, width)` in pixels for "crop", otherwise `None`.
    """

    protocol: str
    max_shift: int
    rows: range
    columns: range
    pairs: int | None
    fill_mode: str | None
    crop_size: tuple[int, int] | None

    @property
    def shared(self) -> bool:
        """Whether all images of a batch get the same shifts."""
        return self.protocol in ("aps", "crop")

    @property
    def num_views(self) -> int:
        """How often each image is classified."""
        return len(self.rows) * len(self.columns) if self.pairs is None else 2 * self.pairs

    def draw(self, rng: np.random.Generator, batch_size: int) -> np.ndarray:
        """Draws the offsets of a batch.

        Drawn image by image, so that "random" gives an image the same shifts in batches of any
        size.

        Args:
            rng: a `numpy.random.Generator`; "exact" does not use it.
            batch_size: number of images.

        Returns:
            int32 array `(views, batch, 2)` of (down, right). Except for "exact", two consecutive
            views are a pair.
        """
        if self.pairs is None:  # "exact"
            grid = np.stack(np.meshgrid(self.rows, self.columns, indexing="ij"), axis=-1)
            views = grid.reshape(-1, 1, 2)
        else:
            low = (self.rows.start, self.columns.start)
            high = (self.rows.stop, self.columns.stop)
            count = 1 if self.shared else batch_size
            views = rng.integers(low, high, (count, 2 * self.pairs, 2)).swapaxes(0, 1)
        return np.broadcast_to(views, (self.num_views, batch_size, 2)).astype("int32")


def plan_shifts(
    protocol: str,
    image_shape: tuple,
    max_shift: int | None,
    pairs: int | None,
    fill_mode: str | None,
    crop_size: int | tuple[int, int] | None,
) -> ShiftPlan:
    """Returns a protocol's plan for images of one shape, with its defaults filled in.

    Args:
        protocol, max_shift, pairs, fill_mode, crop_size: as in `shift_consistency`.
        image_shape: `(height, width, channels)`.

    Returns:
        A `ShiftPlan`.

    Raises:
        ValueError: for an unknown protocol, arguments out of range, or arguments that the
            protocol does not have.
    """
    one_of("protocol", protocol, PROTOCOLS)
    pairs = None if protocol == "exact" else integer("pairs", pairs, 1)
    if max_shift is None:
        max_shift = _DEFAULT_MAX_SHIFT[protocol]
    if protocol == "crop":
        if fill_mode is not None:
            raise ValueError(
                "`fill_mode` must be None for protocol='crop', where nothing is filled. "
                f"Received: fill_mode={fill_mode!r}"
            )
        crop = _crop_size(crop_size, image_shape)
        max_shift = integer("max_shift", max_shift, 0)
        rows, columns = (
            range(min(max_shift, side - cropped) + 1) for side, cropped in zip(image_shape, crop)
        )
        return ShiftPlan(protocol, max_shift, rows, columns, pairs, None, crop)
    if crop_size is not None:
        raise ValueError(
            "`crop_size` must be None except for protocol='crop'. "
            f"Received: crop_size={crop_size!r}, protocol={protocol!r}"
        )
    max_shift = _shift_below_image(max_shift, image_shape, minimum=int(protocol == "aps"))
    offsets = range(-max_shift, max_shift + (protocol != "aps"))
    fill_mode = _DEFAULT_FILL_MODE[protocol] if fill_mode is None else fill_mode
    one_of("fill_mode", fill_mode, FILL_MODES)
    return ShiftPlan(protocol, max_shift, offsets, offsets, pairs, fill_mode, None)


def _shift_below_image(max_shift, image_shape, minimum):
    try:
        return integer("max_shift", max_shift, minimum, below=min(image_shape[:2]))
    except ValueError as error:
        raise ValueError(f"{error}, for images of shape {tuple(image_shape)}") from None


def _crop_size(crop_size, image_shape):
    if crop_size is None:
        raise ValueError(
            "`crop_size` must be given for protocol='crop': the side of the model's images, such "
            "as 224 for images of 256. Received: crop_size=None"
        )
    sides = crop_size if isinstance(crop_size, (tuple, list)) else (crop_size, crop_size)
    if len(sides) != 2:
        raise ValueError(
            "`crop_size` must be one number or (height, width), in pixels. "
            f"Received: crop_size={crop_size!r}"
        )
    try:
        return tuple(
            integer("crop_size", side, 1, below=limit + 1)
            for side, limit in zip(sides, image_shape)
        )
    except ValueError as error:
        raise ValueError(f"{error}, for images of shape {tuple(image_shape)}") from None
