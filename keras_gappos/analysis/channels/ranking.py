"""Channels ranked by a score: the result, and the loop that measures it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_gappos.analysis.batches import count_batches, is_array, iterate_batches
from keras_gappos.analysis.networks import check_image_shape
from keras_gappos.analysis.plots import drawing
from keras_gappos.analysis.progress import ProgressBar
from keras_gappos.arguments import integer
from keras_gappos.files import replacing
from keras_gappos.predictions import Predictor
from keras_gappos.surgery.split import split_at_feature_map
from keras_gappos.version import __version__

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FLOOR = 1e-3  # of the mean activity: less counts as this much when scores are divided by it
_LISTS = ("channels", "scores", "activity")
_SHOWN = 8  # channels in a ranking's repr


@dataclasses.dataclass(frozen=True)
class ChannelRanking:
    """The result of `rank_channels` or `rank_channels_by_label`.

    Attributes:
        channels: indices of the channels, best first; `ranking.channels[:20]` are the best 20.
        scores: the score of each channel, in the channels' own order: `scores[3]` is channel 3's.
        activity: mean over the images of |z| for each channel, in the same order; z is the
            globally pooled feature map.
        num_images: number of images.
        settings: dictionary of all settings needed to repeat the ranking.

    Examples:
        >>> settings = {"region": "left", "method": "region", "latent": "gap", "model": "net"}
        >>> ChannelRanking((2, 0, 1), (0.1, 0.0, 0.5), (1.0, 1.0, 1.0), 50, settings)
        ChannelRanking(best: 2, 0, 1; region='left', method='region', latent='gap', num_images=50)
    """

    channels: tuple[int, ...]
    scores: tuple[float, ...]
    activity: tuple[float, ...]
    num_images: int
    settings: dict

    def __repr__(self) -> str:
        best, count = ", ".join(map(str, self.channels[:_SHOWN])), len(self.channels)
        rest = f", ... of {count}" if count > _SHOWN else ""
        named = {name: self.settings.get(name) for name in ("region", "method", "latent")}
        if self.settings.get("divide_by_activity"):
            named["divide_by_activity"] = True
        named["num_images"] = self.num_images
        settings = ", ".join(f"{name}={value!r}" for name, value in named.items())
        return f"ChannelRanking(best: {best}{rest}; {settings})"

    def to_dict(self) -> dict:
        """All of it as `json.dump` takes it."""
        lists = {name: list(getattr(self, name)) for name in _LISTS}
        return {**lists, "num_images": self.num_images, "settings": dict(self.settings)}

    def to_json(self, path: str | os.PathLike) -> None:
        """Writes a JSON file, whole or not at all.

        Args:
            path: of the file; an existing one is replaced.
        """
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def from_json(cls, path: str | os.PathLike) -> ChannelRanking:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: if the file is something else.
        """
        try:
            content = json.loads(pathlib.Path(path).read_text())
            lists = {name: tuple(content[name]) for name in _LISTS}
            ranking = cls(
                **lists, num_images=content["num_images"], settings=dict(content["settings"])
            )
            order = list(range(len(ranking.scores)))
            if sorted(ranking.channels) != order or len(ranking.activity) != len(order):
                raise ValueError("its channels and scores do not match")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not a channel ranking, as `ChannelRanking.to_json` writes it: {error}"
            ) from error
        return ranking

    def plot(self, ax: Axes | None = None, label: str | None = None, **line: Any) -> Axes:
        """Draws the scores, best first; call it again for another ranking.

        Args:
            ax: Matplotlib axes to draw on; `None` makes a figure.
            label: name for the legend; `None` says what the channels were ranked by.
            **line: further arguments of `Axes.plot`, such as `color`.

        Returns:
            The axes; `.figure.savefig(path)` saves them.

        Examples:
            >>> settings = {"region": "left", "method": "region", "divide_by_activity": False}
            >>> ranking = ChannelRanking((1, 0), (0.1, 0.5), (1.0, 1.0), 50, settings)
            >>> ax = ranking.plot(label="trained")
            >>> ax.lines[0].get_ydata().tolist()
            [0.5, 0.1]
            >>> ranking.plot(ax, label="untrained").figure.savefig("two.png")  # doctest: +SKIP
        """
        region = self.settings["region"]
        name = "channels by label" if region == "label" else f"position channels: {region}"
        share = ", by activity" if self.settings["divide_by_activity"] else ""
        ranks = np.arange(1, len(self.channels) + 1)
        with drawing(ax, label) as ax:
            scores = np.take(self.scores, self.channels)
            ax.plot(ranks, scores, label=label or name, **{"lw": 2, **line})
            ax.axhline(0, color="gray", lw=1)
            ax.set(xlabel="rank of the channel", ylabel=f"score ({self.settings['method']}{share})")
            ax.grid(alpha=0.3)
        return ax


def rank(
    model: keras.Model,
    images: Any,
    labels: Any,
    latent: str | keras.layers.Layer | None,
    batch_size: int,
    progress: bool,
    make_score: Callable,
) -> ChannelRanking:
    """Reads images once and ranks the channels of their pooled feature map.

    Args:
        model, images, labels, latent, batch_size, progress: as in `rank_channels_by_label`.
        make_score: function of (latents, image_shape, channels) that returns a score; `latents` is
            a function from images to float64 `(batch, channels)`. The score has `settings`, a
            dictionary with `divide_by_activity`; `add(images, labels, latents)` for each batch;
            and `scores(num_images)`, float64 `(channels,)`.

    Raises:
        ValueError: as `rank_channels`.
    """
    batch_size = integer("batch_size", batch_size, 1)
    parts = split_at_feature_map(model, latent)
    batches = iterate_batches(images, labels, batch_size)
    first = next(batches)
    image_shape = first[0].shape[1:]
    check_image_shape(model, image_shape)
    pooled = parts.latent_model()
    predictor = Predictor(model, lambda x: pooled(x, training=False))

    def latents(x):
        return predictor(x).astype("float64")

    score = make_score(latents, image_shape, parts.channels)
    count, activity = 0, np.zeros(parts.channels)
    num_batches = count_batches(images, batch_size)
    with ProgressBar("ranking channels", num_batches, enabled=progress) as bar:
        for x, y in itertools.chain([first], batches):
            z = latents(x)
            score.add(x, y, z)
            activity += np.abs(z).sum(axis=0)
            count += len(x)
            bar.advance()
    scores, activity = score.scores(count), activity / count
    never = np.zeros(len(scores), bool)
    if score.settings["divide_by_activity"]:
        scores = scores / np.maximum(activity, _FLOOR * activity.mean() or 1.0)
        never = activity == 0
    settings = {
        **score.settings,
        "latent": parts.layer.name,
        "image_shape": list(image_shape),
        "batch_size": batch_size if is_array(images) else len(first[0]),
        "model": model.name,
        "backend": keras.backend.backend(),
        "keras_version": keras.__version__,
        "keras_gappos_version": __version__,
    }
    order = np.lexsort((-scores, never))  # of equal scores the lower index, never active ones last
    ranked, listed_scores, listed_activity = (
        tuple(values.tolist()) for values in (order, scores, activity)
    )
    return ChannelRanking(ranked, listed_scores, listed_activity, count, settings)
