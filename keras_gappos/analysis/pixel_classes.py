"""A segmentation network's decisions, as one compiled function."""

import keras
import numpy as np
from keras import ops

from keras_gappos.predictions import top1


class PixelClasses(keras.Model):
    """A segmentation network's class for each pixel, taken where the network runs.

    Args:
        model: a `keras.Model` with one output `(batch, height, width, classes)`.
        threshold: for a model of one output per pixel, the output above which the class is 1.

    Raises:
        ValueError: for another model, or a `threshold` that does not fit it.

    Attributes:
        num_classes: number of classes.

    Example:
        >>> network = keras_gappos.models.deeplabv3((32, 48, 3), 5, depth=18, width=2)
        >>> PixelClasses(network).decide(np.zeros((1, 32, 48, 3))).shape
        (1, 32, 48)
    """

    def __init__(self, model, threshold=None):
        super().__init__(autocast=False)
        outputs = keras.tree.flatten(getattr(model, "outputs", None) or [])
        if len(outputs) != 1 or len(outputs[0].shape) != 4 or not outputs[0].shape[-1]:
            raise ValueError(
                "`model` must be a keras.Model with one output (batch, height, width, classes). "
                f"Received: {model!r} with outputs of shape {[tuple(o.shape) for o in outputs]}"
            )
        self.model = model
        self.num_classes = count_classes(tuple(outputs[0].shape), threshold)
        self._threshold = threshold
        compiled = getattr(model, "compiled", False)
        self.compile(jit_compile=model.jit_compile if compiled else "auto")
        self.build(None)

    def build(self, input_shape):
        """Nothing to make: the network has its weights."""
        self.built = True

    def call(self, inputs):
        """Classes int32 `(batch, height, width)`; -1 where the network gives NaN."""
        outputs = self.model(inputs, training=False)
        classes = top1(outputs, self._threshold)
        return ops.where(ops.any(ops.isnan(outputs), axis=-1), -1, classes)

    def decide(self, images):
        """Classes of a batch of images, an int32 array `(batch, height, width)`.

        Raises:
            ValueError: if the network gives NaN.
        """
        count = len(images)
        if self.jit_compile:  # XLA would compile anew for a smaller batch: fill it up
            self._full = max(count, getattr(self, "_full", 0))
            images = np.concatenate([images, np.repeat(images[-1:], self._full - count, axis=0)])
        classes = np.asarray(self.predict_on_batch(images))[:count]
        if classes.min() < 0:
            raise ValueError("`model` must give numbers. Received: a model that gives NaN")
        return classes


def count_classes(shape, threshold):
    """The number of classes that a segmentation network decides between.

    Args:
        shape: of its outputs, `(batch, height, width, classes)`.
        threshold: as in `PixelClasses`.

    Raises:
        ValueError: for one output per pixel without a threshold, or several with one.
    """
    if (shape[-1] == 1) != (threshold is not None):
        raise ValueError(
            "`threshold` is needed for a segmentation network of one output per pixel (0.0 for "
            "logits, 0.5 for probabilities), and for no other. "
            f"Received: threshold={threshold}, outputs of shape {shape}"
        )
    return max(shape[-1], 2)
