"""A KerasTuner hypermodel of AugShift's settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from keras_gappos import models, training
from keras_gappos.analysis.consistency.callback import ShiftConsistencyCallback
from keras_gappos.arguments import integer
from keras_gappos.layers.random_shift import FILL_MODES
from keras_gappos.training.optimizers import annealed_learning_rate, warmup_cosine_sgd
from keras_gappos.tuning.hypermodel import ClassifierHyperModel, check_image_shape
from keras_gappos.tuning.own_network import Network, OwnNetwork
from keras_gappos.tuning.space import Choices, Range

AUGSHIFT_SPACE = {
    "max_shift": Range(1, 8, 4, "largest shift in training, in pixels", is_integer=True, least=1),
    "consistency_weight": Range(0.1, 100.0, 1.0, "weight of the consistency term"),
    "learning_rate": Range(0.003, 0.3, 0.1, "SGD's highest, for a batch of 128", least=1e-8),
    "weight_decay": Range(5e-4, 2e-2, 5e-3, "times the rate, off the kernels each step"),
    "batch_size": Choices((32, 64, 128, 256), 128, "images in a step, each shifted twice", least=1),
    "width": Choices((8, 16, 32, 64), 16, "channels of the ResNet's first stage", least=1),
    "depth": Choices((18, 34, 50), 18, "depth of the ResNet", searched=False),
    "stem": Choices(("cifar", "canvas", "imagenet"), "cifar", "its first layers", searched=False),
    "downsampling": Choices(("stride", "blur", "polyphase"), "stride", "how it halves its maps"),
    "fill_mode": Choices(FILL_MODES, "constant", "what comes in at the border"),
    "flip": Choices((True, False), True, "mirror half of the training images left to right"),
}
_ANY_NETWORK = [n for n in AUGSHIFT_SPACE if n not in ("width", "depth", "stem", "downsampling")]
_MIN_BLUR_SIDE = 9  # pixels; below it, a ResNet's last map is too small to blur


class AugShiftHyperModel(ClassifierHyperModel):
    """Classifiers trained with AugShift, as a `keras_tuner.HyperModel`: ResNets, or your own.

    A trial trains with SGD, whose learning rate falls to 0 by the last step, and reports
    `val_accuracy`, in [0, 1], and `val_shift_consistency`, in percent, after each epoch. The search
    space; settings marked "if named" are searched only if `space` names them, and any other number
    that makes sense may be named, such as a width of 24:

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

    For a `network` of your own, the space has neither `width`, `depth`, `stem` nor `downsampling`,
    but what your function declares in `hp`, under other names than those of the table.

    Args:
        input_shape: `(height, width, channels)` of one image. The space has only shifts smaller
            than the image, and no "blur" if a side is below 9 pixels. Your own network's by
            default.
        num_classes: number of classes, at least 2; your own network's by default.
        space: what to search instead: a dictionary from a setting of the table to a value, which
            fixes it, a list of values, or `(low, high)`.
        measure_shift: largest shift in pixels along each axis in `val_shift_consistency`, for all
            trials.
        consistency_images: number of validation images to measure it on, from the first.
        seed: integer, at least 0, for the weights, batches, flips and shifts.
        jit_compile: `"auto"`, `True` or `False`, as in `keras.Model.compile`.
        epochs: passes over the training images per trial, unless the tuner sets it.
        name: the hypermodel's name.
        network: `None` for our ResNets; otherwise a function `build(hp)` that returns a classifier
            for a `keras_tuner.HyperParameters`, or a built classifier, which each trial copies
            with its weights. It gives logits or a softmax's probabilities, and has a global pooling
            layer, as `keras_gappos.AugShift` asks for. The search brings its own loss and
            optimizer; override `make_optimizer` for another one.

    Raises:
        ValueError: for a space with an unknown name, impossible values, or none; for
            another argument out of range.

    Examples:
        >>> images, labels = keras_gappos.data.load("digits", "train", limit=300)
        >>> images = images / 255
        >>> space = {"width": 8, "batch_size": 32, "learning_rate": (0.03, 0.3)}
        >>> hypermodel = AugShiftHyperModel((8, 8, 1), 10, space, measure_shift=1)
        >>> tuner = keras_gappos.tuning.make_tuner("random", hypermodel, trials=1, epochs=1)
        >>> tuner.search(images[:200], labels[:200], validation_data=(images[200:], labels[200:]))
        >>> tuner.get_best_hyperparameters()[0]["width"]
        8

        A network of your own, here one of Keras':

        >>> def build(hp):
        ...     alpha = hp.Choice("alpha", [0.25, 0.5])
        ...     arguments = {"input_shape": (32, 32, 1), "classes": 10, "weights": None}
        ...     return keras.applications.MobileNet(alpha=alpha, **arguments)
        >>> hypermodel = AugShiftHyperModel(space={"batch_size": 16}, network=build)
        >>> hypermodel.build(keras_tuner.HyperParameters()).model.output_shape
        (None, 10)
    """

    def __init__(
        self,
        input_shape: Sequence[int] | None = None,
        num_classes: int | None = None,
        space: dict | None = None,
        measure_shift: int = 4,
        consistency_images: int = 1000,
        seed: int = 0,
        jit_compile: bool | str = "auto",
        epochs: int = 10,
        name: str | None = None,
        network: Network | None = None,
    ) -> None:
        self._own = None if network is None else OwnNetwork(network, _ANY_NETWORK)
        if self._own is not None:
            self.from_logits = self._own.from_logits
            input_shape = self._own.image_shape(input_shape)
            num_classes = self._own.classes(num_classes)
        input_shape = check_image_shape("input_shape", input_shape)
        side = min(input_shape[:2])
        self.measure_shift = integer("measure_shift", measure_shift, 1, below=side)
        self.consistency_images = integer("consistency_images", consistency_images, 1)
        fitting = _fitting_space(side)
        if network is not None:
            fitting = {name: fitting[name] for name in _ANY_NETWORK}
        super().__init__(fitting, space, input_shape, num_classes, seed, jit_compile, epochs, name)

    @property
    def identity(self):
        """The base class's, plus the measurement and the size of the user's own network."""
        more = {
            "measure_shift": self.measure_shift,
            "consistency_images": self.consistency_images,
        }
        if self._own is not None:
            more["network_parameters"] = self._own.parameters
        return super().identity | more

    def network_of(self, hp, values):
        """The network of a trial: the user's own, or ours."""
        return self.make_network(values) if self._own is None else self._own(hp)

    def make_model(self, values, network):
        """An uncompiled `AugShift`."""
        return training.AugShift(
            network,
            values["max_shift"],
            values["consistency_weight"],
            fill_mode=values["fill_mode"],
            seed=self.seed,
        )

    def make_network(self, values):
        """The ResNet that AugShift trains."""
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
    largest = side - 1
    shifts = dataclasses.replace(shifts, most=largest)
    fitting = {"max_shift": shifts.narrow("max_shift", (1, min(shifts.high, largest)))}
    if side < _MIN_BLUR_SIDE:
        fitting["downsampling"] = downsampling.narrow("downsampling", ["stride", "polyphase"])
    return AUGSHIFT_SPACE | fitting
