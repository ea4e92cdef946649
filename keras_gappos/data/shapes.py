"""The embedded data set `shapes`, whose segmentation requires absolute position."""

from __future__ import annotations

from typing import Any

import numpy as np

HEIGHT, WIDTH = 64, 96
SIZES = {"train": 400, "test": 100}
GROUND, CIRCLE, SQUARE, TRIANGLE, CROSS = 0, 1, 2, (3, 4), (5, 6)  # the pairs: left, right
_SEED = 2021
_ATTEMPTS = 20  # to find a free place for a shape


def shapes(split: str, limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Draws textured shapes on a textured ground, with their masks.

    Circles and squares are one class each. Triangles are one class in the left half of the image
    and another in the right half, and so are crosses: only position distinguishes the two, since
    shape, size, texture, color and ground have the same distribution in both halves. No shape
    crosses the middle or overlaps another. Train without flips: they would contradict the masks.

    Args:
        split: `"train"` (400 images) or `"test"` (100).
        limit: draw only this many images; `None` draws all.

    Returns:
        `(images, masks)`: uint8 `(n, 64, 96, 3)` and uint8 `(n, 64, 96)`, with the classes of
        `keras_gappos.data.segmentation_info("shapes")`. The same at each call.

    Raises:
        ValueError: for any other split.

    Examples:
        >>> images, masks = keras_gappos.data.load("shapes", "train", limit=8)
        >>> images.shape, masks.shape
        ((8, 64, 96, 3), (8, 64, 96))
    """
    if split not in SIZES:
        raise ValueError(f"`split` of 'shapes' must be 'train' or 'test'. Received: {split!r}")
    count = SIZES[split] if limit is None else min(limit, SIZES[split])
    seeds = [(_SEED, list(SIZES).index(split), index) for index in range(count)]
    images, masks = zip(*(draw_image(np.random.default_rng(seed)) for seed in seeds))
    return np.stack(images), np.stack(masks)


def draw_image(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One image `(64, 96, 3)` and its mask `(64, 96)`, both uint8, from a NumPy generator."""
    image = _texture(rng, darkest=30, brightest=120)
    mask = np.full((HEIGHT, WIDTH), GROUND, "uint8")
    for half in (0, 1):
        centers = np.zeros((0, 3))
        for _ in range(rng.integers(1, 4)):
            kind: Any = (CIRCLE, SQUARE, TRIANGLE, CROSS)[rng.integers(4)]
            place: tuple[float, float, float] | None = _place(rng, half, centers)
            angle = rng.uniform(-0.3, 0.3)
            texture = _texture(rng, darkest=130, brightest=240)
            if place is None:
                continue
            centers = np.concatenate([centers, [place]])
            inside = _inside(kind, *place, angle)
            image[inside] = texture[inside]
            mask[inside] = kind[half] if isinstance(kind, tuple) else kind
    noise = rng.normal(0, 6, image.shape)
    return np.clip(np.round(image + noise), 0, 255).astype("uint8"), mask


def _place(rng, half, others):
    """Row, column and radius of a free place in one half of the image, or `None`."""
    for _ in range(_ATTEMPTS):
        radius = rng.uniform(8, 13)
        row = rng.uniform(radius, HEIGHT - radius)
        column = rng.uniform(radius, WIDTH / 2 - radius) + half * WIDTH / 2
        distances = np.hypot(others[:, 0] - row, others[:, 1] - column)
        if (distances > others[:, 2] + radius).all():
            return row, column, radius
    return None


def _inside(kind, row, column, radius, angle):
    """Which pixels are in a shape, which lies within `radius` of its center."""
    down = np.arange(HEIGHT)[:, None] + 0.5 - row
    right = np.arange(WIDTH)[None, :] + 0.5 - column
    x = (right * np.cos(angle) + down * np.sin(angle)) / radius
    y = (down * np.cos(angle) - right * np.sin(angle)) / radius
    if kind == CIRCLE:
        return np.hypot(x, y) <= 0.8
    if kind == SQUARE:
        return np.maximum(abs(x), abs(y)) <= 0.7
    if kind == TRIANGLE:  # corners on the circle, one at the top
        return (y <= 0.5) & (y >= np.sqrt(3) * abs(x) - 1)
    arm = 0.25
    return (np.maximum(abs(x), abs(y)) <= 0.95) & (np.minimum(abs(x), abs(y)) <= arm)


def _texture(rng, darkest, brightest):
    """A wave of random direction, length and contrast between two random colors."""
    colors = rng.uniform(darkest, brightest, (2, 3))
    direction, length, phase = rng.uniform(0, np.pi), rng.uniform(3, 12), rng.uniform(0, 2 * np.pi)
    down, right = np.arange(HEIGHT)[:, None], np.arange(WIDTH)[None, :]
    along = (down * np.sin(direction) + right * np.cos(direction)) / length
    share = (0.5 + 0.5 * np.sin(2 * np.pi * along + phase))[..., None]
    return colors[0] * share + colors[1] * (1 - share)
