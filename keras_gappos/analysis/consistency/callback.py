"""Report shift consistency after each epoch of `fit`."""

from __future__ import annotations

import warnings

import keras
import numpy as np

from keras_gappos.analysis.consistency.protocols import plan_shifts
from keras_gappos.analysis.consistency.result import COLLAPSED, distinct_decisions
from keras_gappos.analysis.consistency.shifted import ShiftedTop1
from keras_gappos.analysis.networks import check_classifier
from keras_gappos.arguments import check_images, integer, one_of
from keras_gappos.decisions import DECISIONS, read_head
from keras_gappos.training.prepared_model import PreparedModel


class ShiftConsistencyCallback(keras.callbacks.Callback):
    """Adds `val_shift_consistency`, in percent, and `val_num_predicted_classes` to the logs.

    The first is the percentage of pairs of random shifts that get the same top-1 class (of a
    multi-label classifier, the same label set), as `keras_gappos.analysis.shift_consistency` with
    `protocol="random"` measures it, on a bounded number of images, with the same shifts after each
    epoch. For an `AugShift` it is measured on the inner classifier. Callbacks are called in order:
    pass this one before those that read it, such as `keras.callbacks.EarlyStopping` and
    `ModelCheckpoint`.

    The second is how many different classes, or label sets, were decided for at all: a network that
    has collapsed to one is fully consistent. If it is 1 at the end of the training, a warning says
    so.

    Args:
        images: array `(n, height, width, channels)`, in the units that the model takes.
        max_shift: largest shift in pixels on each axis, smaller than the image.
        limit: measure on the first so many images.
        pairs: number of pairs for each image.
        batch_size: number of images in a batch.
        seed: integer, at least 0, of the shifts.
        threshold: as in `shift_consistency`.
        decision: as in `shift_consistency`; "auto" goes by the loss of the training.

    Raises:
        ValueError: for an argument out of range, images that are not finite, or none; after an
            epoch, if the model gives NaN, takes other images, or is no classifier.

    Examples:
        >>> images, labels = keras_gappos.data.load("digits", "train", limit=200)
        >>> images = images / 255
        >>> model = keras_gappos.models.gapnet((8, 8, 1), num_outputs=10, width=4)
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("adam", loss)
        >>> consistency = ShiftConsistencyCallback(images[:50], max_shift=1)
        >>> history = model.fit(images[50:], labels[50:], callbacks=[consistency])
        >>> 0 <= history.history["val_shift_consistency"][0] <= 100
        True
    """

    def __init__(
        self,
        images: np.ndarray,
        max_shift: int = 4,
        limit: int = 1000,
        pairs: int = 2,
        batch_size: int = 256,
        seed: int = 0,
        threshold: float | None = None,
        decision: str = "auto",
    ) -> None:
        super().__init__()
        images = np.asarray(images)[: integer("limit", limit, 1)]
        if images.ndim != 4:
            raise ValueError(
                "`images` must be of shape (n, height, width, channels). Received: images of shape "
                f"{images.shape}"
            )
        check_images(images)
        is_double = images.dtype == "float64"
        self._images = images.astype(keras.config.floatx()) if is_double else images
        self._plan = plan_shifts("random", images.shape[1:], max_shift, pairs, None, None)
        self._batch_size = integer("batch_size", batch_size, 1)
        self._seed = integer("seed", seed, 0)
        self._decision = threshold, one_of("decision", decision, DECISIONS)

    def on_train_begin(self, logs=None):
        """Forgets the network of an earlier training."""
        self._top1, self._predicted = None, set()

    def on_epoch_end(self, epoch, logs=None):
        """Measures, and enters the result into `logs`."""
        if self._top1 is None:  # kept for all epochs: what it compiles takes long to compile
            self._top1 = self._make_top1()
        rng, agreeing = np.random.default_rng(self._seed), 0
        self._predicted = set()
        for start in range(0, len(self._images), self._batch_size):
            images = self._images[start : start + self._batch_size]
            views = self._plan.draw(rng, len(images))
            decided = np.stack(list(self._top1.decide(images, views)))
            self._predicted |= distinct_decisions(decided)
            agree = decided[0::2] == decided[1::2]
            agreeing += np.sum(agree if agree.ndim == 2 else agree.all(axis=-1))
        pairs = len(self._images) * self._plan.pairs
        logs["val_shift_consistency"] = 100 * float(agreeing) / pairs
        logs["val_num_predicted_classes"] = len(self._predicted)

    def on_train_end(self, logs=None):
        """Warns of a network that has collapsed."""
        if len(self._predicted) == 1 and len(self._images) > 1:
            warnings.warn(COLLAPSED.format("class", len(self._images)), stacklevel=2)

    def _make_top1(self):
        model = self.model.model if isinstance(self.model, PreparedModel) else self.model
        shape, dtype = self._images.shape[1:], self._images.dtype
        head = read_head(self.model)
        threshold = check_classifier(model, shape, dtype, *self._decision, head).threshold
        return ShiftedTop1(model, threshold, self._plan, fill_value=0.0)
