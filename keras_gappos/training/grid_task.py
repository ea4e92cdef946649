"""Train for the place, or the class, of images on a grid."""

from __future__ import annotations

import keras
from keras import ops

from keras_gappos.arguments import (
    check_class_labels,
    check_images,
    integer,
    one_of,
    only_tensor,
    visible_array,
)
from keras_gappos.layers import place_on_grid
from keras_gappos.training.prepared_model import PreparedModel

TASKS = ("location", "class")


@keras.saving.register_keras_serializable(package="keras_gappos")
class GridTask(PreparedModel):
    """Trains a network on plain images, each put on a fresh random cell of a black grid.

    `fit` and `evaluate` take images and labels as they are, as arrays, a `tf.data.Dataset` or a
    `PyDataset`; each image is placed on the device, in the training step, so that only the small
    images travel. `predict` and calls are the inner model's and take whole canvases.

    Args:
        model: a built network for canvases `(grid_size * height, grid_size * width, channels)`,
            such as `keras_gappos.models.gapnet`.
        grid_size: number of cells along each side, at least 1.
        task: what to learn: `"location"`, the cell (labels are not used and may be left out;
            the model needs `grid_size**2` outputs), or `"class"`, the label.
        flip: whether to mirror half of the images left to right in training.
        seed: integer, or `None`. The same seed gives the same cells, other ones at each step.

    Raises:
        ValueError: for an unknown `task`, a `grid_size` below 1, a model that does not fit the
            grid or the images; in `fit` and `evaluate`, for arrays that are empty, not finite, or
            whose labels are not among the model's classes.

    Examples:
        >>> images, labels = keras_gappos.data.load("digits", "train")
        >>> network = keras_gappos.models.gapnet((24, 24, 1), num_outputs=9, width=8)
        >>> task = keras_gappos.GridTask(network, grid_size=3)
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> task.compile("adam", loss, metrics=["accuracy"])
        >>> history = task.fit(images / 255, labels, epochs=2)

    Source: Islam et al., ICCV 2021, section 3.1.
    """

    def __init__(
        self,
        model: keras.Model,
        grid_size: int,
        task: str = "location",
        flip: bool = False,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(model, seed=seed, **kwargs)
        self.task = one_of("task", task, TASKS)
        self.grid_size = grid_size = integer("grid_size", grid_size, 1)
        if len(model.outputs) != 1:
            raise ValueError(
                f"`model` must have one output. Received: a model with {len(model.outputs)} outputs"
            )
        outputs = model.output_shape[-1]
        if task == "location" and outputs != grid_size**2:
            raise ValueError(
                f"For task='location' with grid_size={grid_size}, `model` must have "
                f"{grid_size**2} outputs. Received: a model with {outputs} outputs"
            )
        self.flip = one_of("flip", flip, (True, False))

    def prepare(self, x, y, sample_weight, training):
        """Puts each image on a random cell; the target is the cell or the label."""
        x = only_tensor("x", x)
        self._check_image_shape(x.shape)
        batch_size = ops.shape(x)[0]
        cells = keras.random.randint(
            (batch_size,), 0, self.grid_size**2, seed=self.seed_generator, dtype="int32"
        )
        if self.flip and training:
            draws = keras.random.uniform((batch_size, 1, 1, 1), seed=self.seed_generator)
            x = ops.where(draws < 0.5, ops.flip(x, axis=2), x)
        canvases = place_on_grid(x, cells, self.grid_size)
        if self.task == "class" and y is None:
            raise ValueError("task='class' needs labels. Received: images alone (y=None)")
        return canvases, cells if self.task == "location" else y, sample_weight

    def fit(self, x=None, y=None, *args, **kwargs):
        """As `keras.Model.fit`, on images and labels."""
        self._check_arrays(x, y)
        return super().fit(x, y, *args, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """As `keras.Model.evaluate`, on images and labels; every call draws fresh cells."""
        self._check_arrays(x, y)
        return super().evaluate(x, y, *args, **kwargs)

    def _check_image_shape(self, shape):
        if len(shape) != 4 or None in tuple(shape)[1:]:
            raise ValueError(
                "Images must be of shape (batch, height, width, channels), all but the batch "
                f"known. Received: shape={tuple(shape)}"
            )
        height, width, channels = tuple(shape)[1:]
        canvas = (self.grid_size * height, self.grid_size * width, channels)
        expected = self.model.input_shape[1:]
        if any(want not in (None, have) for want, have in zip(expected, canvas)):
            raise ValueError(
                f"Images of {height}x{width}x{channels} on a {self.grid_size}x{self.grid_size} "
                f"grid make canvases of {'x'.join(map(str, canvas))}, but `model` takes "
                f"{'x'.join(map(str, expected))}. Build the model with input_shape={canvas}."
            )

    def _check_arrays(self, images, labels):
        images, labels = visible_array(images), visible_array(labels)
        if images is None:
            return
        check_images(images)
        self._check_image_shape(images.shape)
        if self.task == "class" and labels is not None:
            classes = max(2, self.model.output_shape[-1])  # one output: a binary decision
            check_class_labels(labels, len(images), classes)

    def call(self, inputs, training=None):
        """The inner model's outputs for whole canvases."""
        expected = self.model.input_shape
        if len(inputs.shape) != 4 or any(
            want not in (None, have) for want, have in zip(expected[1:], inputs.shape[1:])
        ):
            raise ValueError(
                f"Calls and `predict` take canvases of shape {expected}; `place_on_grid` makes "
                f"them of images. Received: shape={tuple(inputs.shape)}"
            )
        return super().call(inputs, training=training)

    def get_config(self):
        """The arguments that make this model again."""
        return {
            **super().get_config(),
            "grid_size": self.grid_size,
            "task": self.task,
            "flip": self.flip,
        }
