"""Rank the channels of a network by how well a label, such as the class, explains them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_gappos.analysis.channels.ranking import ChannelRanking, rank
from keras_gappos.arguments import class_indices, integer

_ROUNDING = 1e-12  # of the mean square: a channel that varies less counts as constant


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
    ratio, eta squared: the sum of squares of z between the labels over the total sum of squares.
    It is 0 if the channel's mean is the same for every label or the channel does not vary, 1 if the
    label determines z. A channel's scale does not matter. The order is that of the F statistic
    of a one-way analysis of variance, F = eta^2 / (1 - eta^2) * (n - k) / (k - 1) for n images and
    k labels.

    With the images' classes as labels it finds "class channels"; with the cells of a grid on which
    the images were placed, position channels, to compare with those.

    The images are read once; the memory is O(channels x labels), however many they are.

    Args:
        model: as in `rank_channels`.
        images: as in `rank_channels`.
        labels: for an array of images, integers `(n,)`, or one-hot `(n, num_labels)`. Give `None`
            for a stream, which has its own.
        num_labels: number of labels, at least 2; labels are in [0, num_labels).
        latent: as in `rank_channels`.
        batch_size: as in `rank_channels`.
        progress: as in `rank_channels`.

    Returns:
        A `ChannelRanking`.

    Raises:
        ValueError: as `rank_channels`, and for labels out of range, missing, or all the same.

    Examples:
        >>> images, labels = keras_gappos.data.load("digits", "test", limit=50)
        >>> model = keras_gappos.models.permutenet((8, 8, 1), num_outputs=10, width=4)
        >>> ranking = rank_channels_by_label(model, images / 255, labels, num_labels=10)
        >>> 0 <= min(ranking.scores) <= max(ranking.scores) <= 1
        True
    """
    num_labels = integer("num_labels", num_labels, 2)
    return rank(
        model,
        images,
        labels,
        latent,
        batch_size,
        progress,
        lambda latents, image_shape, channels: _Explained(num_labels, channels),
    )


class _Explained:
    """The share of each channel's sum of squares that is between the labels, eta squared.

    Counts, means and inner sums of squares of vectors by label, merged batch by batch: not sums of
    squares, whose difference would lose the digits of channels that vary little (Chan, Golub and
    LeVeque, 1983).
    """

    def __init__(self, num_labels, channels):
        self.settings = {
            "region": "label",
            "method": "eta_squared",
            "divide_by_activity": False,
            "num_labels": num_labels,
        }
        self._counts = np.zeros((num_labels, 1))
        self._means = np.zeros((num_labels, channels))
        self._inner = np.zeros(channels)

    def add(self, images, labels, z):
        if labels is None:
            raise ValueError("`labels` must be given, or come with the images. Received: none")
        labels = class_indices(labels, len(self._counts))
        members = np.eye(len(self._counts))[labels]
        counts = members.sum(axis=0)[:, None]
        means = members.T @ z / np.maximum(counts, 1)
        moved, together = means - self._means, np.maximum(self._counts + counts, 1)
        self._inner += ((z - means[labels]) ** 2).sum(axis=0)
        self._inner += (moved**2 * self._counts * counts / together).sum(axis=0)
        self._means += moved * counts / together
        self._counts += counts

    def scores(self, num_images):
        if (self._counts > 0).sum() < 2:
            raise ValueError(
                "`labels` must be of two kinds or more. Received: the same label for all images"
            )
        mean = (self._counts * self._means).sum(axis=0) / self._counts.sum()
        between = (self._counts * (self._means - mean) ** 2).sum(axis=0)
        total = between + self._inner
        varies = total > _ROUNDING * self._counts.sum() * mean**2
        return np.where(varies, between / np.where(varies, total, 1), 0.0)
