"""A KerasTuner hypermodel of GAPNet's and PermuteNet's settings."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from keras_gappos import models, training
from keras_gappos.arguments import integer, one_of
from keras_gappos.layers.channel_permutation import MODES
from keras_gappos.models.resnet import PLACES
from keras_gappos.training.grid_task import TASKS
from keras_gappos.tuning.hypermodel import ClassifierHyperModel, check_image_shape
from keras_gappos.tuning.space import Choices, Range

GRID_NET_SPACE = {
    "learning_rate": Range(1e-4, 1e-2, 1e-3, "of Adam, whose beta_1 is 0.5", least=1e-8),
    "batch_size": Choices((16, 32, 48, 64, 128), 48, "images in a step", least=1),
    "width": Choices((8, 16, 32, 64), 16, "channels of the ResNet's first stage", least=1),
    "depth": Choices((18, 34, 50), 18, "depth of the ResNet", searched=False),
    "flip": Choices((True, False), True, "mirror half of the training images left to right"),
}
PERMUTATION_SPACE = {
    "permute_at": Choices(PLACES, "pool", "its place", searched=False),
    "mode": Choices(MODES, "batch", "a new permutation for each, or a fixed one", searched=False),
}


class GridNetHyperModel(ClassifierHyperModel):
    """GAPNet or PermuteNet on images on a grid, as a `keras_tuner.HyperModel`.

    A trial reports `val_accuracy`, in [0, 1], after each epoch. The search space; settings marked
    "if named" are searched only if `space` names them, the last two are PermuteNet's only, and any
    other number that makes sense may be named, such as a width of 24:

    | setting | values | default | what it is |
    |---|---|---|---|
    | `learning_rate` | 0.0001 to 0.01 (log) | 0.001 | of Adam, whose beta_1 is 0.5 |
    | `batch_size` | 16, 32, 48, 64, 128 | 48 | images in a step |
    | `width` | 8, 16, 32, 64 | 16 | channels of the ResNet's first stage |
    | `depth` | 18, 34, 50 | 18 | depth of the ResNet; if named |
    | `flip` | True, False | True | mirror half of the training images left to right |
    | `permute_at` | stem, stage1, stage2, stage3, stage4, pool | pool | its place; if named |
    | `mode` | batch, sample, fixed | batch | a new permutation for each, or a fixed one; if named |

    Args:
        image_shape: `(height, width, channels)` of one image.
        num_classes: number of image classes, at least 2.
        network: `"gapnet"` or `"permutenet"`.
        grid_size: number of cells along each side of the canvas, at least 1.
        task: `"location"` or `"class"`, as in `keras_gappos.GridTask`.
        space: what to search instead: a dictionary from a setting of the table to a value, which
            fixes it, a list of values, or `(low, high)`.
        seed: integer, at least 0, for the weights, batches, flips, cells and permutations.
        jit_compile: `"auto"`, `True` or `False`, as in `keras.Model.compile`.
        epochs: passes over the training images per trial, unless the tuner sets it.
        name: the hypermodel's name.

    Raises:
        ValueError: for a space with an unknown name, impossible values, or none; for
            another argument out of range.

    Examples:
        >>> hypermodel = keras_gappos.tuning.GridNetHyperModel(
        ...     (8, 8, 1), 10, grid_size=2, space={"width": 8, "learning_rate": (5e-4, 5e-3)}
        ... )
        >>> hypermodel.build(keras_tuner.HyperParameters()).grid_size
        2
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_classes: int,
        network: str = "gapnet",
        grid_size: int = 3,
        task: str = "location",
        space: dict | None = None,
        seed: int = 0,
        jit_compile: bool | str = "auto",
        epochs: int = 10,
        name: str | None = None,
    ) -> None:
        image_shape = check_image_shape("image_shape", image_shape)
        self.network = one_of("network", network, ("gapnet", "permutenet"))
        self.grid_size = integer("grid_size", grid_size, 1)
        self.task = one_of("task", task, TASKS)
        full_space = GRID_NET_SPACE | (PERMUTATION_SPACE if network == "permutenet" else {})
        super().__init__(
            full_space, space, image_shape, num_classes, seed, jit_compile, epochs, name
        )

    @property
    def identity(self):
        """The base class's, plus the task."""
        task = {"network": self.network, "grid_size": self.grid_size, "task": self.task}
        return super().identity | task

    def make_model(self, values, network):
        """An uncompiled `GridTask`."""
        return training.GridTask(network, self.grid_size, self.task, seed=self.seed)

    def make_network(self, values):
        """The network, for canvases."""
        height, width, channels = self.image_shape
        canvas = (self.grid_size * height, self.grid_size * width, channels)
        outputs = self.grid_size**2 if self.task == "location" else self.num_classes
        arguments = {"depth": values["depth"], "width": values["width"]}
        if self.network == "permutenet":
            arguments |= {name: values[name] for name in PERMUTATION_SPACE}
            arguments["seed"] = self.seed + 1
        return getattr(models, self.network)(canvas, outputs, **arguments)

    def make_optimizer(self, values):
        """Adam with the paper's settings."""
        return keras.optimizers.Adam(values["learning_rate"], beta_1=0.5)

    def learning_rate(self, values, steps):
        """A constant."""
        return values["learning_rate"]
