"""Settings of the attack on segmentation."""

import dataclasses
import math
from typing import Literal

from keras_gappos.arguments import check_at_least, check_each_once
from keras_gappos.experiments.engine.settings import NetworkSettings, check_weights_file

# Shares of the channels to switch off where no counts are given.
SHARES = (0, 1 / 32, 1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1)


@dataclasses.dataclass(frozen=True)
class AttackSettings(NetworkSettings):
    """The paper's attack: segmentation without position channels.

    Trains DeepLabv3, ranks its channels by position, and switches the best ones off. The defaults
    take minutes, on an embedded data set. Sizes are in pixels, mIoU in percent. The same command
    resumes a run that was stopped.
    """

    dataset: str = "shapes"
    """Data set: shapes, which is embedded; camvid, cityscapes or another set of TensorFlow
    Datasets with masks, by name; or the folder of a prepared one."""
    output_dir: str = "results/attack"
    """Folder for results.json, table.md, figure.png, the rankings and the weights; a run that was
    stopped resumes from it."""
    train_split: str = "train"
    """Split to train and to rank the channels on."""
    test_split: str | None = None
    """Split to score on; None is test for shapes and validation for others."""
    size: tuple[int, int] | None = None
    """Height and width in pixels to resize images and masks to; None keeps their size."""
    num_classes: int | None = None
    """Number of classes of a data set that the package does not know; None counts its labels."""
    ignore_class: int | None = None
    """Label, at least 0, of pixels that do not count, of a data set that the package does not
    know."""
    width: int = 16
    output_stride: Literal[8, 16] = 8
    """Pixels of the image to one of the feature map, along each side."""
    weights: str | None = None
    """File with weights of such a network, to attack that one; None trains one."""
    epochs: int = 40
    batch_size: int = 8
    learning_rate: float = 1e-3
    """Learning rate of Adam in the first step; it falls to 0 as the 0.9th power of what is left."""
    weight_decay: float = 1e-2
    """Each step takes this times the learning rate off the kernels."""
    flips: tuple[bool, ...] | None = None
    """Train without (False) and with (True) mirroring half of the training images left to right,
    a network for each, such as --flips False True, which is what None does. For shapes, whose
    masks mirrored images would contradict, and for given --weights None is False alone."""
    scale: tuple[float, float] | None = None
    """Smallest and largest factor to scale training images by; None is 0.5 and 2. For shapes,
    which must stay in their places, None is 1 and 1."""
    crop: tuple[int, int] | None = None
    """Height and width in pixels of the parts cut out of the training images; None is the images'
    size."""
    counts: tuple[int, ...] | None = None
    """Numbers of channels to switch off; None takes ten, from 0 to all."""
    latent: Literal["features", "head_relu"] = "features"
    """Feature map whose channels are ranked and switched off: the backbone's, as the paper has it,
    or that of the head's last convolution, from which the classes are read off linearly."""
    method: Literal["region", "signed_flip"] = "region"
    """Ranking of left and right channels: by images of which one half is kept, or by the paper's
    signed difference between images and mirrored ones. Overall channels are ranked by flips."""
    divide_by_activity: bool = False
    """Divide the channels' scores by their mean activity."""
    draws: int = 5
    """Random orders of the channels for the baseline."""
    rank_images: int | None = None
    """Rank the channels on the first so many of these; None uses all."""
    show_images: bool = True
    """Show the photographs in the figure; with --no-show-images the outlines of what is in them
    on gray stand for them, for data sets whose images may not be published."""

    def __post_init__(self):
        super().__post_init__()
        check_at_least(self, 1, "draws", "num_classes", "rank_images")
        check_at_least(self, 0, "weight_decay", "ignore_class")
        given = [name for name in ("flips", "counts") if getattr(self, name) is not None]
        check_each_once(self, *given)
        if self.counts is not None and min(self.counts) < 0:
            raise ValueError(f"`counts` must be at least 0. Received: counts={self.counts}")
        if self.scale is not None and not 0 < self.scale[0] <= self.scale[1] < float("inf"):
            raise ValueError(
                "`scale` must be the smallest and the largest factor, both above 0. "
                f"Received: scale={self.scale}"
            )
        for name in ("size", "crop"):
            value = getattr(self, name)
            if value is not None and min(value) < 1:
                raise ValueError(f"`{name}` must be at least 1 pixel. Received: {name}={value}")
        if self.weights is not None:
            self._check_weights()

    def _check_weights(self):
        check_weights_file(self.weights)
        if len(self.trainings) > 1:
            raise ValueError(
                "`flips` must say how the one network of `weights` was trained, False or True. "
                f"Received: flips={self.flips}"
            )

    @property
    def trainings(self):
        """Whether to train with flips, for each network."""
        if self.flips is not None:
            return self.flips
        return (False,) if self._is_shapes or self.weights else (False, True)

    @property
    def scored_split(self):
        """The split to score on."""
        return self.test_split or ("test" if self._is_shapes else "validation")

    @property
    def scales(self):
        """Smallest and largest factor to scale training images by."""
        return self.scale or ((1.0, 1.0) if self._is_shapes else (0.5, 2.0))

    def counts_of(self, channels):
        """The numbers of channels to switch off, of so many channels; 0 is one of them."""
        if self.counts is not None:
            return tuple(sorted({0, *self.counts}))
        return tuple(sorted({math.ceil(share * channels) for share in SHARES}))

    @property
    def _is_shapes(self):
        from keras_gappos.data.segmentation_sets import plain_name  # imports Keras

        return plain_name(self.dataset) == "shapes"
