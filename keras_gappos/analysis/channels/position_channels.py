"""Rank the channels of a network by how much position they carry."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_gappos.analysis.batches import is_array, iterate_batches
from keras_gappos.analysis.channels.ranking import ChannelRanking, rank
from keras_gappos.analysis.regions import HALVES, region_mask
from keras_gappos.arguments import one_of

METHODS = ("flip", "signed_flip", "region")


def rank_channels(
    model: keras.Model,
    images: Any,
    region: Any = "overall",
    latent: str | keras.layers.Layer | None = None,
    batch_size: int = 128,
    *,
    method: str | None = None,
    divide_by_activity: bool = False,
    mean: Any = None,
    progress: bool = True,
) -> ChannelRanking:
    """Ranks the channels of a feature map by how much position they carry.

    With z(x) the globally pooled feature map of image x, the score of a channel is the mean over
    the images of one of these:

    - `"flip"`, for `region="overall"`, its default: |z(x) - z(flip(x))|, the image flipped left to
      right. The paper's ranking of overall position channels.
    - `"region"`, the default for a region: z of the image with only the region kept, minus z of
      the image with only the rest kept; what is not kept is replaced by the data set's mean color.
      A positive score means that the channel responds to the region.
    - `"signed_flip"`, for a half: z(x) - z(flip(x)) for "left" and its negative for "right"; for
      "top" and "bottom" the same with an upside-down flip. The paper ranks left and right channels
      by this signed difference; which sign belongs to which side is a choice of this package. It
      depends more on where the content of the images is than on the channel: if half of the images
      are flipped, it is zero.

    The images are read once, and the memory does not grow with their number.

    Args:
        model: a Functional or Sequential `keras.Model` from images to anything, with a
            convolutional feature map, also in a backbone that is one of its layers.
        images: `(n, height, width, channels)` array, or a `tf.data.Dataset`, `PyDataset` or
            iterable of batches, in the units that the model takes. Labels are not used.
        region: `"overall"`; `"left"`, `"right"`, `"top"`, `"bottom"` (halves) or `"center"` (from a
            quarter to three quarters on both axes); a box `(top, left, bottom, right)` in pixels,
            bottom and right not in it; or a boolean array `(height, width)`.
        latent: the global pooling layer, whose input is the feature map, or the layer that gives
            the feature map, or the name of either; `None` is the last global pooling layer or,
            without any (`include_top=False`), the layer whose feature map is the only output.
            Pooling is that layer's, mean or maximum, and the mean for a feature map.
        batch_size: number of images in a batch, for an array of images.
        method: `"flip"`, `"signed_flip"`, `"region"`; `None` is "flip" for "overall", otherwise
            "region".
        divide_by_activity: whether to divide each channel's score by its activity, the mean of
            |z(x)|, so that size alone does not rank a channel first. An activity below a thousandth
            of the channels' mean counts as that, and channels that are never active come last.
        mean: the data set's mean color, one number or one for each of the images' channels, for
            `method="region"`. `None` takes it from the images if they are an array, in a pass
            before; streams need it: see `mean_color`.
        progress: whether to show a bar, on a terminal or in a notebook, after more than 3 seconds.

    Returns:
        A `ChannelRanking`.

    Raises:
        ValueError: for an argument that does not fit, a region that is empty or the whole image, a
            mask of another size than the images, a latent layer without a feature map, images that
            are empty, not finite or of another size than the model's, a model that gives NaN, a
            stream without `mean` where it is needed.

    Examples:
        >>> images, _ = keras_gappos.data.load("digits", "test", limit=50)
        >>> model = keras_gappos.models.permutenet((8, 8, 1), num_outputs=10, width=4)
        >>> ranking = rank_channels(model, images / 255, "left")
        >>> sorted(ranking.channels) == list(range(32))
        True

    Source: Islam et al., ICCV 2021, the section on targeting position-encoding channels.
    """
    method = _method(method, region)

    def make_score(latents, image_shape, channels):
        color = None
        if method == "region":
            color = _mean_color(mean, images, image_shape[-1], batch_size)
        views, name = _views(method, region, image_shape[:2], color)
        settings = {
            "region": name,
            "method": method,
            "divide_by_activity": bool(divide_by_activity),
            "mean": None if color is None else color.tolist(),
        }
        return _Difference(latents, views, channels, settings)

    return rank(model, images, None, latent, batch_size, progress, make_score)


class _Difference:
    """The mean over the images of the difference between the latents of two views of each."""

    def __init__(self, latents, views, channels, settings):
        self.settings = settings
        self._latents, self._views, self._total = latents, views, np.zeros(channels)

    def add(self, images, labels, z):
        one, other = (z if view is None else self._latents(view(images)) for view in self._views)
        difference = np.abs(one - other) if self.settings["method"] == "flip" else one - other
        self._total += difference.sum(axis=0)

    def scores(self, num_images):
        return self._total / num_images


def mean_color(images: Any, batch_size: int = 128) -> np.ndarray:
    """The mean color of all pixels of a data set.

    Args:
        images: as in `rank_channels`.
        batch_size: number of images read at a time, for an array of images.

    Returns:
        float64 array `(channels,)`, in the images' units.

    Raises:
        ValueError: for images that are empty or not finite.

    Examples:
        >>> mean_color(np.array([[[[0, 1], [2, 3]]]])).tolist()
        [1.0, 2.0]
    """
    total: Any = 0.0
    pixels = 0
    for x, _ in iterate_batches(images, batch_size=batch_size):
        total = total + x.sum(axis=(0, 1, 2), dtype="float64")
        pixels += x[..., 0].size
    return total / pixels


def _method(method, region):
    overall = isinstance(region, str) and region == "overall"
    default = "flip" if overall else "region"
    method = one_of("method", default if method is None else method, METHODS)
    half = isinstance(region, str) and region in HALVES
    fits = {"flip": overall, "signed_flip": half, "region": not overall}
    if not fits[method]:
        wanted = {"flip": '"overall"', "signed_flip": f"one of {HALVES}", "region": "a region"}
        raise ValueError(
            f"`region` must be {wanted[method]} for method={method!r}. Received: region={region!r}"
        )
    return method


def _views(method, region, size, mean):
    """Two functions of a batch, whose latents to compare, `None` for the images as they are."""
    if method != "region":
        vertical = isinstance(region, str) and region in ("top", "bottom")
        pair = (None, lambda x: np.flip(x, axis=1 if vertical else 2))
        return (pair[::-1] if region in ("right", "bottom") else pair), region
    mask, name = region_mask(region, *size)

    def keeping(kept):
        return lambda x: np.where(kept[..., None], x, mean).astype("float32")

    return (keeping(mask), keeping(~mask)), name


def _mean_color(mean, images, channels, batch_size):
    if mean is None:
        if not is_array(images):
            raise ValueError(
                "`mean` is needed where `images` are a stream, which is read once: give the data "
                "set's mean color, 0 for images that are normalized, or mean_color(images), which "
                "reads them. Received: mean=None"
            )
        return mean_color(images, batch_size)
    try:
        values = np.asarray(mean, dtype="float64")
    except (TypeError, ValueError):  # no numbers
        values = np.full((), np.nan)
    if values.shape not in ((), (channels,)) or not np.isfinite(values).all():
        raise ValueError(
            f"`mean` must be one finite number, or {channels}, one for each channel of the images. "
            f"Received: mean={mean!r}"
        )
    return values
