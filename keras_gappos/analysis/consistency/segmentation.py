"""Measure how often a segmentation network decides alike for a pixel when the image shifts."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from typing import Any

import keras
import numpy as np

from keras_gappos.analysis.batches import count_batches, is_array, iterate_batches
from keras_gappos.analysis.consistency.protocols import plan_shifts
from keras_gappos.analysis.consistency.result import COLLAPSED, Moments
from keras_gappos.analysis.consistency.shifted import ShiftedTop1
from keras_gappos.analysis.networks import check_image_shape, count_pixel_classes
from keras_gappos.analysis.progress import ProgressBar
from keras_gappos.arguments import integer


@dataclasses.dataclass(frozen=True)
class SegmentationConsistency:
    """Shift consistency of a segmentation network.

    Attributes:
        consistency: percent of pixels that get the same class under two shifts, first averaged over
            the pairs of shifts of an image, then over images.
        stderr: standard error of `consistency` over images, in percentage points; NaN for one.
        num_images: number of images.
        num_predicted_classes: number of different classes that were decided for at all. A network
            that has collapsed to one is fully consistent.
        settings: dictionary of all settings needed to repeat the measurement.
    """

    consistency: float
    stderr: float
    num_images: int
    num_predicted_classes: int
    settings: dict


def segmentation_consistency(
    model: keras.Model,
    images: Any,
    max_shift: int = 4,
    *,
    border: int = 0,
    pairs: int = 5,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    threshold: float | None = None,
    batch_size: int = 16,
    seed: int = 0,
    progress: bool = True,
) -> SegmentationConsistency:
    """Measures the shift consistency of a segmentation network, in percent of pixels.

    Each image is shifted twice, independently, by up to `max_shift` pixels on each axis, `pairs`
    times. Both predictions are shifted back and compared pixel by pixel, where the pixel of the
    image is visible under both shifts.

    Args:
        model: a `keras.Model` from images to one output `(batch, height, width, classes)` of their
            size, logits or probabilities.
        images: as in `shift_consistency`; labels and masks are not used.
        max_shift: in pixels, at least 0.
        border: pixels that are at most so far from the border of a shifted image do not count: what
            is filled in at the border changes the network's answer nearby. At least 0;
            `2 * (border + max_shift)` must be below the image's height and width.
        pairs: number of pairs of shifts for each image, at least 1.
        fill_mode: what comes in at the border, as in `shift_images`.
        fill_value: the constant, in the images' units.
        threshold: for a model of one output per pixel, the output above which the class is 1.
        batch_size: number of images in a batch, for an array of images; it does not change results.
        seed: integer, at least 0, of the shifts; the same on every backend.
        progress: whether to show a bar, on a terminal or in a notebook, after more than 3 seconds.

    Returns:
        A `SegmentationConsistency`. A model that decides for one class everywhere is fully
        consistent and useless: `num_predicted_classes` is 1 then, with a warning.

    Raises:
        ValueError: for an argument out of range, a model without such an output or one that gives
            NaN, images that are empty, not finite or of another size than the model's.

    Examples:
        >>> images, _ = keras_gappos.data.load("shapes", "test", limit=4)
        >>> model = keras_gappos.models.deeplabv3((64, 96, 3), 7, depth=18, width=4)
        >>> result = segmentation_consistency(model, images / 255, pairs=1, border=8)
        >>> 0 <= result.consistency <= 100
        True
    """
    seed, batch_size = integer("seed", seed, 0), integer("batch_size", batch_size, 1)
    border, rng = integer("border", border, 0), np.random.default_rng(seed)
    classes = count_pixel_classes(model, threshold)
    batches = iterate_batches(images, None, batch_size)
    first, _ = next(batches)
    plan = plan_shifts("random", first.shape[1:], max_shift, pairs, fill_mode, None)
    _check_sizes(model, first.shape[1:], border, plan.max_shift)
    shifted = ShiftedTop1(model, threshold, plan, fill_value)
    shifted.check_fill(first.shape[1:], first.dtype)
    agreement, seen, num_images = Moments(), np.zeros(classes, bool), 0
    num_batches = count_batches(images, batch_size)
    num_steps = None if num_batches is None else num_batches * plan.num_views
    with ProgressBar("segmentation consistency", num_steps, enabled=progress) as bar:
        for x, _ in itertools.chain([(first, None)], batches):
            views = plan.draw(rng, len(x))
            maps = map(bar.advance, shifted.decide(x, views))
            agree = np.zeros(len(x))
            for one, other in zip(views[0::2], views[1::2]):
                predicted = next(maps), next(maps)
                for decided in predicted:
                    seen[np.unique(decided)] = True
                agree += pixel_agreement(predicted, (one, other), border)
            agreement.add(agree / (len(views) // 2))
            num_images += len(x)
    if seen.sum() == 1:
        warnings.warn(COLLAPSED.format("class of every pixel", num_images), stacklevel=2)
    return SegmentationConsistency(
        consistency=100 * agreement.mean,
        stderr=100 * agreement.standard_error,
        num_images=num_images,
        num_predicted_classes=int(seen.sum()),
        settings={
            "max_shift": plan.max_shift,
            "border": border,
            "pairs": plan.pairs,
            "fill_mode": fill_mode,
            "fill_value": np.asarray(fill_value).item() if fill_mode == "constant" else None,
            "threshold": threshold,
            "image_shape": list(first.shape[1:]),
            "batch_size": batch_size if is_array(images) else len(first),
            "seed": seed,
            "model": model.name,
            "backend": keras.backend.backend(),
            "keras_version": keras.__version__,
        },
    )


def pixel_agreement(
    predicted: tuple[np.ndarray, np.ndarray],
    offsets: tuple[np.ndarray, np.ndarray],
    border: int = 0,
) -> np.ndarray:
    """The share of an image's pixels that got the same class under two shifts.

    Args:
        predicted: two int arrays `(batch, height, width)`: the classes of the shifted images.
        offsets: two int arrays `(batch, 2)` of (down, right) by which the images were shifted.
        border: pixels at most so far from the border of a shifted image do not count.

    Returns:
        Array `(batch,)` in [0, 1].

    Examples:
        >>> one, other = np.array([[[1, 2, 3]]]), np.array([[[0, 1, 7]]])  # the other moved by one
        >>> offsets = np.array([[0, 0]]), np.array([[0, 1]])
        >>> pixel_agreement((one, other), offsets).tolist()  # 1 and 1, 2 and 7
        [0.5]
    """
    back, counts = zip(*map(_shifted_back, predicted, offsets, (border, border)))
    counts = np.logical_and(*counts)
    same = np.logical_and(np.equal(*back), counts)
    return same.sum(axis=(1, 2)) / counts.sum(axis=(1, 2))


def _shifted_back(maps, offsets, border):
    """Maps moved back by their offsets, and which of their pixels count."""
    places, inside = [], []
    for axis, length in enumerate(maps.shape[1:]):
        place = np.arange(length) + offsets[:, axis, None]
        inside.append((place >= border) & (place < length - border))
        places.append(place.clip(0, length - 1))
    image = np.arange(len(maps))[:, None, None]
    back = maps[image, places[0][:, :, None], places[1][:, None, :]]
    return back, inside[0][:, :, None] & inside[1][:, None, :]


def _check_sizes(model, image_shape, border, max_shift):
    check_image_shape(model, image_shape)
    height, width = image_shape[:2]
    if 2 * (border + max_shift) >= min(height, width):
        raise ValueError(
            f"`border` and `max_shift` must leave pixels that are seen under any two shifts: "
            f"2 * (border + max_shift) must be below {min(height, width)}. Received: "
            f"border={border}, max_shift={max_shift}, images of shape {image_shape}"
        )
    images = keras.KerasTensor((None, *image_shape))
    (output,) = keras.tree.flatten(model(images, training=False))
    if tuple(output.shape[1:3]) != (height, width):
        raise ValueError(
            "`model` must give classes for each pixel of `images`; resize its output with "
            f"`layers.ResizeLike`. Received: outputs of shape {tuple(output.shape)} for images of "
            f"shape {image_shape}"
        )
