"""Settings of the experiment on position channels and class channels."""

import dataclasses
from typing import Literal

from keras_gappos.arguments import check_above_zero, check_at_least, check_each_once
from keras_gappos.experiments.engine.settings import NetworkSettings, check_weights_file

# Shares of the channels to switch off where no counts are given: close to each other towards all,
# since the class is in so many channels that few of them are enough for it.
SHARES = (0, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 13 / 16, 7 / 8, 15 / 16, 1)


@dataclasses.dataclass(frozen=True)
class ProbeSettings(NetworkSettings):
    """Position channels and class channels of one backbone.

    Trains for the class alone, puts a second head for the location on the frozen backbone, and
    switches its channels off. The defaults take minutes, on embedded digits. Accuracies are in
    percent. The same command resumes a run that was stopped.
    """

    output_dir: str = "results/probe"
    """Folder for results.json, table.md, figure.png, the rankings and the weights; a run that was
    stopped resumes from it."""
    networks: tuple[Literal["gapnet", "resnet", "permutenet"], ...] = ("gapnet", "resnet")
    """Networks to look into: the heads of gapnet are convolutions, those of resnet and permutenet
    dense layers on the pooled channels, which permutenet shuffles."""
    grid_size: int = 3
    """Cells along each side of the canvas."""
    weights: str | None = None
    """File with the weights of such a network that was trained for the class, like those that
    `keras-gappos run location` leaves; None trains one. The images must be as in its training:
    the same --normalize, and the same --train-images, which decide on mean and deviation."""
    width: int = 16
    epochs: int = 10
    """Passes over the training images for the class, with which the backbone is trained."""
    head_epochs: int = 10
    """Passes over the training images for the head that names the cell, the backbone frozen."""
    head_learning_rate: float = 1e-2
    """The same for the head that names the cell."""
    flip: bool = False
    """Mirror half of the training images left to right."""
    normalize: bool = True
    """Shift and scale each color channel to mean 0, standard deviation 1 over the training images
    (the canvas around them stays at 0); else pixels are in [0, 1]."""
    counts: tuple[int, ...] | None = None
    """Numbers of channels to switch off; None takes 0 to all in twelve steps."""
    draws: int = 5
    """Random orders of the channels for the baseline."""
    rank_images: int | None = None
    """Rank the channels on the first so many of these; None uses all."""
    test_passes: int = 3
    """Passes over the test images, each with fresh random cells."""

    def __post_init__(self):
        super().__post_init__()
        check_at_least(self, 1, "head_epochs", "draws", "rank_images", "test_passes")
        check_at_least(self, 2, "grid_size")
        check_above_zero(self, "head_learning_rate")
        check_each_once(self, "networks", *(() if self.counts is None else ("counts",)))
        if self.counts is not None and min(self.counts) < 0:
            raise ValueError(f"`counts` must be at least 0. Received: counts={self.counts}")
        if self.weights is not None:
            self._check_weights()

    def _check_weights(self):
        check_weights_file(self.weights)
        if len(self.networks) > 1:
            raise ValueError(
                "`networks` must name the one network of `weights`. "
                f"Received: networks={self.networks}"
            )

    def counts_of(self, channels):
        """The numbers of channels to switch off, of so many channels; 0 is one of them."""
        if self.counts is None:
            return tuple(sorted({-int(-share * channels // 1) for share in SHARES}))
        counts = tuple(sorted({0, *self.counts}))
        if not 0 < counts[-1] <= channels:
            raise ValueError(
                f"`counts` must be in [0, {channels}], the channels of the feature map, and one be "
                f"above 0. Received: counts={self.counts}"
            )
        return counts
