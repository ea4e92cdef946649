"""Settings of the location experiment."""

import dataclasses
from typing import Literal

from keras_gappos.arguments import check_at_least, check_each_once
from keras_gappos.experiments.engine.settings import NetworkSettings


@dataclasses.dataclass(frozen=True)
class LocationSettings(NetworkSettings):
    """The paper's first table: accuracy of GAPNet and PermuteNet.

    Accuracy for the location of an image and for its class. The defaults are the paper's, on
    CIFAR-10; they take days on a CPU. Accuracies are in percent. The same command resumes a run
    that was stopped.
    """

    dataset: str = "cifar10"
    """Data set: digits, or an image-classification set of TensorFlow Datasets by name."""
    output_dir: str = "results/location"
    grids: tuple[int, ...] = (3, 7)
    """Grid sizes: cells along each side of the canvas."""
    tasks: tuple[Literal["location", "class"], ...] = ("location", "class")
    """What to learn: the cell, the image's class, or both in turn."""
    networks: tuple[Literal["gapnet", "permutenet"], ...] = ("gapnet", "permutenet")
    """Networks to train."""
    padding: tuple[Literal["zeros", "reflect", "replicate", "circular"], ...] = ("zeros",)
    """How the networks' convolutions pad: each network is trained with each of them."""
    epochs: int = 20
    """Passes over the training images for each network and task."""
    location_epochs: int | None = None
    """Passes for the location task, if not the same as --epochs."""
    target_accuracy: float | None = None
    """End a training early after an epoch with at least this training accuracy, in percent."""
    test_passes: int | None = None
    """Passes over the test images, each with fresh random cells; None makes one for each cell of
    the grid, as the paper does."""
    batch_size: int = 48
    flip: bool = True
    """Mirror half of the training images left to right."""
    normalize: bool = True
    """Shift and scale each color channel to mean 0, standard deviation 1 over the training images
    (the canvas around them stays at 0); else pixels are in [0, 1]."""
    show_images: bool = True
    """Show the images on the figure's canvases; with --no-show-images a gray square stands for
    each, for data sets whose images may not be published."""

    def __post_init__(self):
        super().__post_init__()
        check_at_least(self, 1, "location_epochs", "test_passes")
        check_each_once(self, "grids", "tasks", "networks", "padding")
        if min(self.grids) < 1:
            raise ValueError(f"`grids` must be at least 1. Received: grids={self.grids}")
        if self.target_accuracy is not None and not 0 < self.target_accuracy <= 100:
            raise ValueError(
                "`target_accuracy` must be in (0, 100] percent. "
                f"Received: target_accuracy={self.target_accuracy}"
            )

    def epochs_of(self, task):
        """Epochs of a task."""
        return (self.location_epochs or self.epochs) if task == "location" else self.epochs

    def passes_of(self, grid_size):
        """Test passes at a grid size."""
        return self.test_passes or grid_size**2
