"""Rank the channels of a network by how much they tell of a label, such as the image's class."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np

from keras_gappos.analysis.batches import count_batches, is_array, iterate_batches
from keras_gappos.analysis.channels.channel_ranking import ChannelRanking
from keras_gappos.analysis.class_labels import class_indices
from keras_gappos.analysis.latents import Latents
from keras_gappos.analysis.progress import ProgressBar
from keras_gappos.arguments import integer
from keras_gappos.surgery.feature_map import check_image_shape, split_at_feature_map
from keras_gappos.version import __version__

_ROUNDING = 1e-12  # of the mean square: a channel that varies less is one that does not vary


def rank_channels_by_label(
    model: keras.Model,
    images: Any,
    labels: Any,
    num_labels: int,
    latent: str | keras.layers.Layer | None = None,
    batch_size: int = 128,
    *,
    progress: bool = True,
) -> ChannelRanking:
    """Ranks the channels of a feature map by how much of their variance a label explains.

    With z(x) the globally pooled feature map of image x, the score of a channel is the correlation
    ratio, eta squared: the sum of squares of z between the labels over the sum of squares in all.
    It is 0 if the channel's mean is the same for every label, 1 if the label alone decides what z
    is; a channel that does not vary has 0. The order is that of the F statistic of a one-way
    analysis of variance, F = eta^2 / (1 - eta^2) * (n - k) / (k - 1) for n images and k labels.
    Large channels do not come first for their size.

    With the classes of the images as labels it finds "class channels"; with the cells of a grid on
    which the images were put, channels of position, to be compared with those.

    The images are read once; the memory is O(channels x labels), however many they are.

    Args:
        model: a Functional or Sequential `keras.Model` from images to anything, with a
            convolutional feature map, also in a backbone that is one of its layers.
        images: `(n, height, width, channels)` array, or a `tf.data.Dataset`, `PyDataset` or
            iterable of batches `(images, labels)`, in the units that the model takes.
        labels: for an array of images, integers `(n,)`, or one-hot `(n, num_labels)`. Give `None`
            beside a stream, which brings its own.
        num_labels: number of labels, at least 2; labels are in [0, num_labels).
        latent: as in `rank_channels`.
        batch_size: number of images in a batch, for an array of images.
        progress: whether to show a progress bar, on a terminal, if it takes more than 3 seconds.

    Returns:
        A `ChannelRanking`.

    Raises:
        ValueError: for an argument that does not fit, labels out of range, missing, or all the
            same, a latent layer without a feature map, images that are empty, not finite or of
            another size than the model's, a model that gives NaN.

    Example:
        >>> images, labels = keras_gappos.data.load("digits", "test", limit=50)
        >>> model = keras_gappos.models.permutenet((8, 8, 1), num_outputs=10, width=4)
        >>> ranking = rank_channels_by_label(model, images / 255, labels, num_labels=10)
        >>> 0 <= min(ranking.scores) <= max(ranking.scores) <= 1
        True
    """
    num_labels = integer("num_labels", num_labels, 2)
    batch_size = integer("batch_size", batch_size, 1)
    parts = split_at_feature_map(model, latent)
    batches = iterate_batches(images, labels, batch_size)
    first = next(batches)
    check_image_shape(model, first[0].shape[1:])
    latents = Latents(parts, model, size=len(first[0]))
    groups, activity = _Groups(num_labels, parts.channels), np.zeros(parts.channels)
    num_batches = count_batches(images, batch_size)
    with ProgressBar("ranking channels", num_batches, enabled=progress) as bar:
        for x, y in itertools.chain([first], batches):
            if y is None:
                raise ValueError("`labels` must be given, or come with the images. Received: none")
            z = latents.of(x)
            groups.add(z, class_indices(y, num_labels))
            activity += np.abs(z).sum(axis=0)
            bar.advance()
    scores, count = groups.explained(), int(groups.counts.sum())
    settings = {
        "region": "label",
        "method": "eta_squared",
        "divide_by_activity": False,
        "num_labels": num_labels,
        "latent": parts.layer.name,
        "image_shape": list(first[0].shape[1:]),
        "batch_size": batch_size if is_array(images) else len(first[0]),
        "model": model.name,
        "backend": keras.backend.backend(),
        "keras_version": keras.__version__,
        "keras_gappos_version": __version__,
    }
    values = (np.argsort(-scores, kind="stable"), scores, activity / count)
    ranked, listed_scores, listed_activity = (tuple(array.tolist()) for array in values)
    return ChannelRanking(ranked, listed_scores, listed_activity, count, settings)


class _Groups:
    """Counts, means and inner sums of squares of vectors by label, merged batch by batch.

    Means and squared distances to them, not sums of squares, whose difference would lose the
    digits of channels that vary little (Chan, Golub and LeVeque, 1983).
    """

    def __init__(self, num_labels, channels):
        self.counts = np.zeros((num_labels, 1))
        self._means = np.zeros((num_labels, channels))
        self._inner = np.zeros(channels)

    def add(self, z, labels):
        """Merges vectors `(batch, channels)` and their labels `(batch,)`."""
        members = np.eye(len(self.counts))[labels]
        counts = members.sum(axis=0)[:, None]
        means = members.T @ z / np.maximum(counts, 1)
        moved, together = means - self._means, np.maximum(self.counts + counts, 1)
        self._inner += ((z - means[labels]) ** 2).sum(axis=0)
        self._inner += (moved**2 * self.counts * counts / together).sum(axis=0)
        self._means += moved * counts / together
        self.counts += counts

    def explained(self):
        """The share of each channel's sum of squares that is between the labels."""
        if (self.counts > 0).sum() < 2:
            raise ValueError(
                "`labels` must be of two kinds or more. Received: the same label for all images"
            )
        mean = (self.counts * self._means).sum(axis=0) / self.counts.sum()
        between = (self.counts * (self._means - mean) ** 2).sum(axis=0)
        total = between + self._inner
        varies = total > _ROUNDING * self.counts.sum() * mean**2
        return np.where(varies, between / np.where(varies, total, 1), 0.0)
