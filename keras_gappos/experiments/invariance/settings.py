"""Settings of the invariance experiment."""

import dataclasses
from typing import Literal, get_args

from keras_gappos.arguments import check_at_least, check_each_once
from keras_gappos.experiments.engine.settings import NetworkSettings
from keras_gappos.experiments.invariance.methods import METHODS

MethodName = Literal[
    "resnet18",
    "blurpool",
    "augshift",
    "augshift_blurpool",
    "augshift_half",
    "resnet18_unshifted",
    "aps",
    "augshift_aps",
    "blurpool_unshifted",
    "aps_unshifted",
    "aps_circular",
    "lps_circular",
]


@dataclasses.dataclass(frozen=True)
class InvarianceSettings(NetworkSettings):
    """The paper's AugShift tables: accuracy and shift consistency.

    AugShift beside the plain network, BlurPool, APS and one random shift. The defaults are of the
    size of the paper's, on CIFAR-10; they need a GPU. Accuracies and consistencies are in percent,
    shifts in pixels. The same command resumes a run that was stopped; --methods may name other
    methods then.
    """

    dataset: str = "cifar10"
    """Data set: digits, or an image-classification set of TensorFlow Datasets by name."""
    output_dir: str = "results/invariance"
    """Folder for results.json, table.md, figure.png and the weights; a run that was stopped resumes
    from it, and methods can be added to it later."""
    methods: tuple[MethodName, ...] = get_args(MethodName)[:7]
    """Methods to train: the plain network; BlurPool; AugShift; AugShift on BlurPool; AugShift for
    half the epochs, which take as long as the others'; the plain network without shifts; adaptive
    polyphase sampling (APS); AugShift on APS; APS, and learnable polyphase sampling (LPS), with
    circular padding, which makes them exactly invariant to circular shifts if the stem is cifar
    and 8 divides the image's sides. All but "unshifted" ones shift each training image at
    random."""
    stem: Literal["cifar", "canvas", "imagenet"] = "cifar"
    """First layers of the ResNet: a 3x3 convolution of stride 1; 7x7 of stride 2; or 7x7 of stride
    2 and a max pool of stride 2."""
    epochs: int = 100
    """Passes over the training images for each method."""
    batch_size: int = 128
    """Images in one training step. AugShift puts two shifted copies of each through the network."""
    learning_rate: float = 0.1
    """Highest learning rate of SGD (momentum 0.9, Nesterov) for a batch of 128; it is scaled in
    proportion for others. It rises linearly in the first steps and then falls to 0 as a cosine."""
    warmup: float = 0.05
    """Share of the training steps in which the learning rate rises, in [0, 1)."""
    weight_decay: float = 5e-3
    """Each step takes this times the learning rate off the kernels, not off biases and batch
    normalization. It bypasses the momentum of 0.9, so that 0.005 is what an L2 term of 0.0005 in
    the gradient is elsewhere, in PyTorch for one."""
    label_smoothing: float = 0.0
    """Share of each training label that is spread evenly over all classes, in [0, 1)."""
    flip: bool = True
    """Mirror half of the training images left to right, for every method."""
    max_shift: int = 4
    """Largest shift in pixels on each axis, in training and in the scores."""
    train_shift: int | None = None
    """Largest shift in training, if not the same as max_shift."""
    fill_mode: Literal["constant", "nearest", "reflect", "wrap"] = "constant"
    """What comes in at the border of a shifted image, in training: 0, the edge's pixels, the mirror
    image, or the other side. In the scores it is 0."""
    consistency_weights: tuple[float, ...] = (1.0, 10.0, 100.0)
    """Weights of AugShift's consistency term. Of several, the best one is found with short
    trainings that are scored on held out training images; one is used as it is."""
    search_epochs: int = 20
    """Passes over the training images for each consistency weight on trial."""
    search_images: int | None = None
    """Use the first so many training images for the weights on trial; None uses all that are not
    held out."""
    validation_images: int = 5000
    """Hold out the last so many training images to choose the consistency weight by. The trainings
    after that use all training images."""
    weight_tolerance: float = 1.0
    """Of the weights whose top-1 accuracy is at most so many percentage points below the best
    one's, that of the highest exact consistency is chosen."""
    consistency_images: int | None = None
    """Score exact consistency, which takes a pass for each of the (2 max_shift + 1)^2 shifts, on
    the first so many of these; None uses all."""
    pairs: int = 5
    """Random consistency: pairs of shifts for each image."""
    normalize: bool = True
    """Shift and scale each color channel to mean 0, standard deviation 1 over the training images,
    so that what comes in at a shifted image's border, 0, is the mean color; else pixels are in
    [0, 1] and it is black."""

    def __post_init__(self):
        super().__post_init__()
        check_at_least(self, 1, "max_shift", "train_shift", "consistency_images", "pairs")
        check_at_least(self, 1, "search_epochs", "search_images", "validation_images")
        check_at_least(self, 0, "weight_decay", "weight_tolerance")
        check_each_once(self, "methods", "consistency_weights")
        if not min(self.consistency_weights) >= 0:
            raise ValueError(
                "`consistency_weights` must be at least 0. "
                f"Received: consistency_weights={self.consistency_weights}"
            )
        for name in ("warmup", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be in [0, 1). Received: {name}={getattr(self, name)}"
                )
        if self.search_images is not None and self.search_images < self.batch_size:
            raise ValueError(
                "`search_images` must be at least one batch. Received: "
                f"search_images={self.search_images}, batch_size={self.batch_size}"
            )

    @property
    def weights_on_trial(self):
        """The consistency weights to choose from; none if there is no choice, or no use for it."""
        uses_augshift = any(METHODS[method].views == 2 for method in self.methods)
        return self.consistency_weights if uses_augshift and self.consistency_weights[1:] else ()

    def passes_over(self, scored):
        """Passes over an image that scoring so many images takes, all together."""
        shifts = (2 * self.max_shift + 1) ** 2 * min(scored, self.consistency_images or scored)
        return shifts + (1 + 4 * self.pairs) * scored
