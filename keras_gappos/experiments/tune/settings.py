"""Settings of a search for AugShift's settings."""

import dataclasses

from keras_gappos.arguments import check_at_least, check_seed, one_of
from keras_gappos.experiments.engine.settings import Distribute, TrainingSettings
from keras_gappos.tuning.objective import OBJECTIVES, TUNERS


@dataclasses.dataclass(frozen=True)
class TuneSettings(TrainingSettings):
    """Settings of a search for AugShift's settings."""

    dataset: str = "digits"
    """Data set: digits, or an image-classification set of TensorFlow Datasets by name. Only its
    training images are used."""
    output_dir: str = "results/tune"
    """Folder for results.json, table.md, figure.png and KerasTuner's files. A search that was
    stopped resumes from it."""
    distribute: Distribute = dataclasses.field(default="none", kw_only=True)
    """Devices to train each trial on: none is one; mirrored is all GPUs of this machine, on
    TensorFlow; jax is all devices of this machine, on JAX. Each batch is divided among them:
    every batch_size in --space, and with jax --validation-images, must be a multiple of their
    number."""
    tuner: str = "hyperband"
    """How settings are chosen: random, hyperband or bayesian."""
    objective: str = "consistency_above_floor"
    """What to maximize: val_accuracy, val_shift_consistency, or consistency_above_floor: the
    consistency of the networks whose accuracy is within --tolerance of the best."""
    tolerance: float = 1.0
    """For consistency_above_floor, in percentage points."""
    trials: int | None = None
    """Number of trials; None is 20, or hyperband's own number."""
    epochs: int = 9
    """Passes over the training images for each trial; for hyperband, for its longest trials."""
    factor: int = 3
    """Hyperband trains 1 in FACTOR trials FACTOR times longer."""
    space: tuple[str, ...] = ()
    """What to search: NAME=VALUE fixes a setting, NAME=A,B chooses among values, NAME=LOW:HIGH
    bounds a range. The names, and what is searched by default: max_shift (1 to 8),
    consistency_weight (0.1 to 100), learning_rate (0.003 to 0.3), weight_decay (0.0005 to 0.02),
    batch_size (32, 64, 128, 256), width (8, 16, 32, 64), depth (18, 34, 50), stem (cifar, canvas,
    imagenet), downsampling (stride, blur, polyphase), fill_mode (constant, nearest, reflect, wrap),
    flip (true, false). Numbers may be others, such as width=24 or learning_rate=1e-4:1e-2. Depth
    and stem are fixed unless named; batch sizes are at most the number of training images. In
    Python, see help(keras_gappos.tuning.AugShiftHyperModel)."""
    train_images: int | None = None
    """Use only the first TRAIN_IMAGES training images, held-out ones included; None uses all."""
    validation_images: int | None = None
    """Number of training images to hold out for scoring, from the end; None is a fifth of them,
    2,000 at most."""
    consistency_images: int | None = None
    """Number of held-out images to measure shift consistency on after each epoch; None is all,
    1,000 at most."""
    measure_shift: int = 4
    """Largest shift in pixels along each axis in that measurement, for all trials."""
    normalize: bool = True
    """Standardize each color channel to mean 0, standard deviation 1 over the training images;
    otherwise pixels are in [0, 1]."""
    seed: int = 0
    """Seed of the choices, weights, batches, flips and shifts."""
    workers: int = 0
    """Number of processes on this machine that share the trials; 0 trains them in this process."""
    tensorboard: bool = False
    """Write TensorBoard logs, with HParams, to the folder tensorboard in --output-dir."""

    def __post_init__(self):
        super().__post_init__()
        one_of("tuner", self.tuner, TUNERS)
        one_of("objective", self.objective, OBJECTIVES)
        check_at_least(self, 1, "trials", "epochs", "train_images", "validation_images")
        check_at_least(self, 1, "consistency_images", "measure_shift")
        check_at_least(self, 2, "factor")
        check_at_least(self, 0, "workers", "tolerance")
        check_seed(self)
