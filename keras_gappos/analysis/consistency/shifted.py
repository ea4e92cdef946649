"""A classifier's decisions on shifted or cropped images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gappos.analysis.consistency.protocols import ShiftPlan
from keras_gappos.decisions import decide
from keras_gappos.layers import shift_images
from keras_gappos.predictions import Predictor

# What NumPy calls the fill modes of `shift_images`.
_PAD_MODES = {"constant": "constant", "nearest": "edge", "reflect": "symmetric", "wrap": "wrap"}


class ShiftedTop1:
    """Shifts or crops images and classifies them, as one compiled function.

    Args:
        model: a classifier that `check_classifier` has accepted.
        threshold: as in `keras_gappos.predictions.top1`.
        plan: the `ShiftPlan`. Where it shifts all images of a batch alike, the batch gets its
            margin once and each view is cut out of it, which costs less than shifting each image.
        fill_value: what comes in at the border with the fill mode "constant".
    """

    def __init__(
        self, model: keras.Model, threshold: float | None, plan: ShiftPlan, fill_value: float
    ):
        self._plan, self._fill_value = plan, fill_value
        self._alike = plan.shared or plan.protocol == "exact"
        view, prepare = (self._cut, self._with_margin) if self._alike else (self._shift, None)
        self._predictor = Predictor(
            model,
            lambda images, where: decide(model(view(images, where), training=False), threshold),
            prepare,
        )

    def check_fill(self, image_shape: tuple, dtype: Any) -> None:
        """Raises a `ValueError` if images of this dtype cannot hold the fill value."""
        if self._plan.crop_size is None:
            images = keras.KerasTensor((None, *image_shape), dtype=np.dtype(dtype).name)
            self._shift(images, keras.KerasTensor((None, 2), dtype="int32"))

    def decide(self, images: np.ndarray, views: np.ndarray) -> Iterator[np.ndarray]:
        """The classes, or label sets, of a batch under each of several offsets.

        Args:
            images: array `(batch, height, width, channels)`.
            views: int32 array `(views, batch, 2)` of (down, right), in pixels, as the plan draws
                them.

        Yields:
            int32 array `(batch,)` for each view; `(batch, classes)` for label sets.

        Raises:
            ValueError: if the classifier gives NaN.
        """
        fill = self._predictor.fill
        where = self._corners(views[:, 0]) if self._alike else map(fill, views)
        return self._predictor.variants(images, ((place,) for place in where))

    def _shift(self, images, offsets):
        return shift_images(images, offsets, self._plan.fill_mode, self._fill_value)

    def _cut(self, images, corner):
        """What the classifier sees of images with a margin, its upper left corner given."""
        count, height, width, channels = ops.shape(images)
        height, width = height - self._margin(0), width - self._margin(1)
        return ops.slice(images, [0, corner[0], corner[1], 0], [count, height, width, channels])

    def _margin(self, axis):
        """By how many pixels the images are larger than what the classifier sees."""
        return len((self._plan.rows, self._plan.columns)[axis]) - 1

    def _with_margin(self, images):
        """The images with what the shifts bring in; for crops, without what no crop reaches.

        The margin of a shift to one side comes in at the other.
        """
        plan = self._plan
        if plan.crop_size is not None:
            height, width = (side + self._margin(axis) for axis, side in enumerate(plan.crop_size))
            return images[:, :height, :width]
        widths = [(offsets[-1], -offsets[0]) for offsets in (plan.rows, plan.columns)]
        fill = {"constant_values": self._fill_value} if plan.fill_mode == "constant" else {}
        return np.pad(images, ((0, 0), *widths, (0, 0)), _PAD_MODES[plan.fill_mode], **fill)

    def _corners(self, offsets):
        """Upper left corners, int32 `(views, 2)`, of what the classifier sees under offsets."""
        if self._plan.crop_size is not None:
            return offsets
        return np.array([self._plan.rows[-1], self._plan.columns[-1]], "int32") - offsets
