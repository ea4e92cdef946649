"""The position channels of a model, and its answers without them."""

from __future__ import annotations

import base64

import keras
import numpy as np

from keras_gappos.analysis import rank_channels
from keras_gappos.explore.explored import Explored
from keras_gappos.explore.images import images_to_rank_by
from keras_gappos.surgery.split import split_at_feature_map

SHOWN = 6  # channels whose maps are shown
_STEPS = 12


class PositionChannels:
    """The ranked channels of one model, ranked once.

    Args:
        explored: the model.

    Raises:
        ValueError: if the model has no global pooling layer; the message lists its layers.
    """

    def __init__(self, explored: Explored):
        self._explored = explored
        self._parts = split_at_feature_map(explored.network)
        images = explored.prepare(images_to_rank_by(explored.image_shape))
        self.ranking = rank_channels(explored.network, images, progress=False)

    @property
    def counts(self) -> list[int]:
        """How many of the best channels are switched off, from none to all."""
        channels = self._parts.channels
        return sorted({round(channels * step / _STEPS) for step in range(_STEPS + 1)})

    def look_at(self, image: np.ndarray) -> dict:
        """What the page shows of an image.

        Args:
            image: uint8, of the model's `image_shape`.

        Returns:
            A dictionary for JSON: the best `channels` with `scores`; their `maps` for the image and
            for its mirror image, 0 to 255 as Base64, with `map_shape`; the `counts`; and for each
            count the `answers` of a classifier, or the `masks` of a segmentation network, uint8
            classes as Base64, with `mask_shape`.
        """
        prepared = self._explored.prepare(np.stack([image, image[:, ::-1]]))
        parts = keras.tree.flatten(self._parts.front.predict_on_batch(prepared))
        features, *others = map(np.asarray, parts)
        first = [other[:1] for other in others]
        best = np.asarray(self.ranking.channels)
        each = [
            np.asarray(self._parts.back.predict_on_batch([_without(features[:1], off), *first]))
            for off in (best[:count] for count in self.counts)
        ]
        outputs = np.concatenate(each)
        maps = features[..., best[:SHOWN]]
        maps = maps.reshape(2, *maps.shape[1:]) / max(float(np.abs(maps).max()), 1e-9)
        shown = {
            "channels": best[:SHOWN].tolist(),
            "scores": [float(f"{self.ranking.scores[channel]:.4g}") for channel in best[:SHOWN]],
            "maps": _encoded(255 * np.clip(np.moveaxis(maps, -1, 1), 0, 1)),
            "map_shape": maps.shape[1:3],
            "counts": self.counts,
        }
        if self._explored.task == "classification":
            return shown | {"answers": self._explored.answers(outputs)}
        masks = outputs.argmax(-1)
        return shown | {"masks": _encoded(masks), "mask_shape": masks.shape[1:]}


def _without(features, channels):
    features = features.copy()
    features[..., channels] = 0
    return features


def _encoded(array):
    return base64.b64encode(np.ascontiguousarray(array, "uint8").tobytes()).decode()
