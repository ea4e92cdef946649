"""A classifier's decisions on shifted or cropped images, as one compiled function."""

import keras
import numpy as np
from keras import ops

from keras_gappos.layers import shift_images
from keras_gappos.predictions import decision_threshold, top1
from keras_gappos.surgery.latent import check_channels_last

# What NumPy calls the fill modes of `shift_images`.
_PAD_MODES = {"constant": "constant", "nearest": "edge", "reflect": "symmetric", "wrap": "wrap"}


class ShiftedTop1(keras.Model):
    """Shifts images, classifies them, and gives the classes: int32 `(batch,)`.

    A class of -1 says that the classifier gave NaN. The classifier's weights and name stay as they
    are; it is called with `training=False`.

    Args:
        model: a classifier that `check_classifier` has accepted.
        threshold: as in `keras_gappos.predictions.top1`.
        plan: the `ShiftPlan`. Where it shifts all images of a batch alike, the batch gets its
            margin once and each view is cut out of it, which costs less than a shift for each.
        fill_value: what comes in at the border with the fill mode "constant".
    """

    def __init__(self, model, threshold, plan, fill_value):
        super().__init__(autocast=False)
        self.model = model
        self._threshold, self._plan, self._fill_value = threshold, plan, fill_value
        self._alike = plan.shared or plan.protocol == "exact"
        # As the user asked for his own model; by default XLA where Keras itself would use it.
        settings = {"jit_compile": "auto"}
        if model.compiled:
            settings = {"jit_compile": model.jit_compile, "run_eagerly": model.run_eagerly}
        self.compile(**settings)
        self.build(None)

    def build(self, input_shape):
        """Nothing to make: the classifier has its weights."""
        self.built = True

    def check_fill(self, image_shape, dtype):
        """Raises a `ValueError` if images of this dtype cannot hold the fill value."""
        if self._plan.crop_size is None:
            images = keras.KerasTensor((None, *image_shape), dtype=np.dtype(dtype).name)
            offsets = keras.KerasTensor((None, 2), dtype="int32")
            shift_images(images, offsets, self._plan.fill_mode, self._fill_value)

    def call(self, inputs):
        """The classes for images and where to look at them.

        That is `(images, corner)`, corner int32 `(2,)`, where all images are shifted alike: they
        have their margin then. Otherwise `(images, offsets)`, offsets int32 `(batch, 2)`.
        """
        images, where = inputs
        if self._alike:
            count, height, width, channels = ops.shape(images)
            height, width = height - self._margin(0), width - self._margin(1)
            start = [0, where[0], where[1], 0]
            images = ops.slice(images, start, [count, height, width, channels])
        else:
            images = shift_images(images, where, self._plan.fill_mode, self._fill_value)
        (outputs,) = keras.tree.flatten(self.model(images, training=False))
        classes = top1(outputs, self._threshold)
        return ops.where(ops.any(ops.isnan(outputs), axis=-1), -1, classes)

    def decide(self, images, views):
        """The classes of a batch under each of several offsets.

        Args:
            images: array `(batch, height, width, channels)`.
            views: int32 array `(views, batch, 2)` of (down, right), in pixels, as the plan draws
                them.

        Yields:
            int array `(batch,)` for each view.

        Raises:
            ValueError: if the classifier gives NaN.
        """
        count = len(images)
        missing = 0
        if self.jit_compile:  # XLA would compile anew for a smaller batch: fill it up
            self._full = max(count, getattr(self, "_full", 0))
            missing = self._full - count
        images = _pad(images, missing)
        if self._alike:
            images, where = self._with_margin(images), self._corners(views[:, 0])
        else:
            where = (_pad(offsets, missing) for offsets in views)
        images = ops.convert_to_tensor(images)  # to the device, once for all views
        for place in where:
            classes = self.predict_on_batch((images, place))[:count]
            if classes.min() < 0:
                raise ValueError("`model` must give numbers. Received: a model that gives NaN")
            yield classes

    def _offsets(self, axis):
        return (self._plan.rows, self._plan.columns)[axis]

    def _margin(self, axis):
        """By how many pixels the images are larger than what the classifier sees."""
        return len(self._offsets(axis)) - 1

    def _with_margin(self, images):
        """The images with what the shifts bring in; crops have it already, and lose what is more.

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


def check_classifier(model, image_shape, dtype, threshold=None):
    """Looks whether a model is a classifier of such images.

    Args:
        model: any `keras.Model`; it is built if it was not.
        image_shape: `(height, width, channels)`.
        dtype: of the images.
        threshold: for a model of one output, the value above which the class is 1.

    Returns:
        `(classes, threshold)`: how many classes there are, and the threshold to use.

    Raises:
        ValueError: for a model of several inputs or outputs, an output that is not
            `(batch, classes)`, images of another size than the model's, one output without a
            sigmoid where `threshold` is `None`, a `threshold` for several outputs.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: {type(model).__name__}")
    _check_input(model, image_shape)
    images = keras.KerasTensor((None, *image_shape), dtype=np.dtype(dtype).name)
    try:
        outputs = keras.tree.flatten(model(images, training=False))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`model` must take `images`. Received: images of shape {tuple(image_shape)}, dtype "
            f"{images.dtype}, for which the model raises: {error}"
        ) from error
    shapes = [tuple(output.shape) for output in outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise ValueError(
            "`model` must give one output (batch, classes); make a keras.Model of the output "
            f"that you mean. Received: a model with outputs of shape {shapes}"
        )
    width = shapes[0][1]
    if width == 1:
        return 2, _binary_threshold(model) if threshold is None else float(threshold)
    if threshold is not None:
        raise ValueError(
            "`threshold` is for models of one output; leave it out. "
            f"Received: threshold={threshold} for a model of {width} outputs"
        )
    return width, None


def _check_input(model, image_shape):
    inputs = getattr(model, "inputs", None) or []  # a subclassed model has none
    if len(inputs) > 1:
        raise ValueError(
            "`model` must take images alone. "
            f"Received: a model with inputs {[tensor.name for tensor in inputs]}"
        )
    for tensor in inputs:
        expected = tuple(tensor.shape)[1:]
        if len(expected) != len(image_shape) or any(
            want not in (None, have) for want, have in zip(expected, image_shape)
        ):
            raise ValueError(
                f"`images` must be of the shape that `model` takes, {expected}. "
                f"Received: images of shape {tuple(image_shape)}"
            )
        check_channels_last(model)


def _graph(model):
    """The Functional or Sequential model in `model`, which may wrap one as `.model`, or `None`."""
    for graph in (model, getattr(model, "model", None)):
        if isinstance(graph, keras.Model) and getattr(graph, "inputs", None):
            return graph
    return None


def _binary_threshold(model):
    graph = _graph(model)
    threshold = 0.0 if graph is None else decision_threshold(graph)
    if threshold != 0.5:
        raise ValueError(
            "`model` has one output and no sigmoid at its end: it looks like a regression model. "
            "For a binary classifier that gives logits, give threshold=0.0 (for one that gives "
            f"probabilities, threshold=0.5). Received: model={model.name!r}, threshold=None"
        )
    return threshold


def _pad(array, count):
    """The array with its last row repeated `count` times more."""
    return np.concatenate([array, np.repeat(array[-1:], count, axis=0)]) if count else array
