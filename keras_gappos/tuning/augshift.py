"""A KerasTuner hypermodel of AugShift's settings."""

from __future__ import annotations

from collections.abc import Sequence

from keras_gappos import models, training
from keras_gappos.analysis.consistency.callback import ShiftConsistencyCallback
from keras_gappos.arguments import integer
from keras_gappos.layers.random_shift import FILL_MODES
from keras_gappos.training.optimizers import annealed_learning_rate, warmup_cosine_sgd
from keras_gappos.tuning.hypermodel import ClassifierHyperModel, check_image_shape
from keras_gappos.tuning.space import Choices, Range

AUGSHIFT_SPACE = {
    "max_shift": Range(1, 8, 4, "largest shift in training, in pixels", is_integer=True),
    "consistency_weight": Range(0.1, 100.0, 1.0, "weight of the consistency term"),
    "learning_rate": Range(0.003, 0.3, 0.1, "SGD's highest, for a batch of 128"),
    "weight_decay": Range(5e-4, 2e-2, 5e-3, "times the rate, off the kernels each step"),
    "batch_size": Choices((32, 64, 128, 256), 128, "images in a step, each shifted twice"),
    "width": Choices((8, 16, 32, 64), 16, "channels of the ResNet's first stage"),
    "depth": Choices((18, 34, 50), 18, "depth of the ResNet", searched=False),
    "stem": Choices(("cifar", "canvas", "imagenet"), "cifar", "its first layers", searched=False),
    "downsampling": Choices(("stride", "blur", "polyphase"), "stride", "how it halves its maps"),
    "fill_mode": Choices(FILL_MODES, "constant", "what comes in at the border"),
    "flip": Choices((True, False), True, "mirror half of the training images left to right"),
}
_MIN_BLUR_SIDE = 9  # pixels; below it, a ResNet's last map is too small to blur


class AugShiftHyperModel(ClassifierHyperModel):
    """ResNets trained with AugShift, as a `keras_tuner.HyperModel`.

    A trial trains with SGD, whose learning rate falls to 0 by the last step, and reports
    `val_accuracy`, in [0, 1], and `val_shift_consistency`, in percent, after each epoch. The search space;
    settings marked "if named" are searched only if `space` names them:

    | setting | values | default | what it is |
    |---|---|---|---|
    | `max_shift` | 1 to 8 | 4 | largest shift in training, in pixels |
    | `consistency_weight` | 0.1 to 100 (log) | 1.0 | weight of the consistency term |
    | `learning_rate` | 0.003 to 0.3 (log) | 0.1 | SGD's highest, for a batch of 128 |
    | `weight_decay` | 0.0005 to 0.02 (log) | 0.005 | times the rate, off the kernels each step |
    | `batch_size` | 32, 64, 128, 256 | 128 | images in a step, each shifted twice |
    | `width` | 8, 16, 32, 64 | 16 | channels of the ResNet's first stage |
    | `depth` | 18, 34, 50 | 18 | depth of the ResNet; if named |
    | `stem` | cifar, canvas, imagenet | cifar | its first layers; if named |
    | `downsampling` | stride, blur, polyphase | stride | how it halves its maps |
    | `fill_mode` | constant, nearest, reflect, wrap | constant | what comes in at the border |
    | `flip` | True, False | True | mirror half of the training images left to right |

    Args:
        input_shape: `(height, width, channels)` of one image. The space has only shifts smaller
            than the image, and no "blur" if a side is below 9 pixels.
        num_classes: number of classes, at least 2.
        space: narrows the search: a dictionary from a setting of the table to a value, which fixes
            it, a list of values, or `(low, high)`.
        measure_shift: largest shift in pixels along each axis in `val_shift_consistency`, for all
            trials.
        consistency_images: number of validation images to measure it on, from the first.
        seed: integer, at least 0, for the weights, batches, flips and shifts.
        jit_compile: `"auto"`, `True` or `False`, as in `keras.Model.compile`.
        epochs: passes over the training images per trial, unless the tuner sets it.
        name: the hypermodel's name.

    Raises:
        ValueError: for a space with an unknown name, values outside the table, or no values; for
            another argument out of range.

    Example:
        >>> images, labels = keras_gappos.data.load("digits", "train", limit=300)
        >>> images = images / 255
        >>> space = {"width": 8, "batch_size": 32, "learning_rate": (0.03, 0.3)}
        >>> hypermodel = AugShiftHyperModel((8, 8, 1), 10, space, measure_shift=1)
        >>> tuner = keras_gappos.tuning.make_tuner("random", hypermodel, trials=1, epochs=1)
        >>> tuner.search(images[:200], labels[:200], validation_data=(images[200:], labels[200:]))
        >>> tuner.get_best_hyperparameters()[0]["width"]
        8
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        space: dict | None = None,
        measure_shift: int = 4,
        consistency_images: int = 1000,
        seed: int = 0,
        jit_compile: bool | str = "auto",
        epochs: int = 10,
        name: str | None = None,
    ) -> None:
        input_shape = check_image_shape("input_shape", input_shape)
        side = min(input_shape[:2])
        self.measure_shift = integer("measure_shift", measure_shift, 1, below=side)
        self.consistency_images = integer("consistency_images", consistency_images, 1)
        super().__init__(
            _fitting_space(side), space, input_shape, num_classes, seed, jit_compile, epochs, name
        )

    @property
    def identity(self):
        """The base class's, plus the measurement."""
        measured = {
            "measure_shift": self.measure_shift,
            "consistency_images": self.consistency_images,
        }
        return super().identity | measured

    def make_model(self, values):
        """An uncompiled `AugShift`."""
        return training.AugShift(
            self.make_network(values),
            values["max_shift"],
            values["consistency_weight"],
            fill_mode=values["fill_mode"],
            seed=self.seed,
        )

    def make_network(self, values):
        """The classifier that AugShift trains."""
        return models.resnet(
            values["depth"],
            self.image_shape,
            self.num_classes,
            width=values["width"],
            stem=values["stem"],
            downsampling=values["downsampling"],
        )

    def make_optimizer(self, values):
        """SGD, as in the experiments."""
        return warmup_cosine_sgd(
            values["learning_rate"],
            values["batch_size"],
            steps=1,
            weight_decay=values["weight_decay"],
        )

    def learning_rate(self, values, steps):
        """A schedule that ends at 0."""
        return annealed_learning_rate(values["learning_rate"], values["batch_size"], steps)

    def callbacks(self, images):
        """Shift consistency after each epoch."""
        return [
            ShiftConsistencyCallback(
                images, self.measure_shift, self.consistency_images, seed=self.seed
            )
        ]


def _fitting_space(side):
    """The space for images whose smaller side has `side` pixels."""
    shifts, downsampling = AUGSHIFT_SPACE["max_shift"], AUGSHIFT_SPACE["downsampling"]
    fitting = {"max_shift": shifts.narrow("max_shift", (1, min(shifts.high, side - 1)))}
    if side < _MIN_BLUR_SIDE:
        fitting["downsampling"] = downsampling.narrow("downsampling", ["stride", "polyphase"])
    return AUGSHIFT_SPACE | fitting
