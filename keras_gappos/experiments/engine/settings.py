"""Settings that all experiments share: the data, the output, and how a training is computed."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Annotated, Any, Literal, get_args

import tyro

from keras_gappos.arguments import check_above_zero, check_at_least, check_seed, one_of

Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]
DISTRIBUTIONS = ("none", "mirrored", "jax")
# A string, so that the error for what Keras cannot do names the supported alternative.
Distribute = Annotated[str, tyro.conf.arg(metavar=f"{{{','.join(DISTRIBUTIONS)}}}")]
JitCompile = Literal["auto", "on", "off"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Settings that all experiments share; an experiment redeclares those that differ in it."""

    dataset: str = "digits"
    """Data set: digits, or an image-classification set of TensorFlow Datasets by name."""
    data_dir: str | None = None
    """Folder of prepared TensorFlow Datasets; None is ~/tensorflow_datasets."""
    output_dir: str = "results"
    """Folder for results.json, table.md, figure.png and the weights; a run that was stopped resumes
    from it."""
    precision: Precision = "float32"
    """Keras dtype policy, in training and in the scores."""
    distribute: Distribute = "none"
    """Devices to train on: none is one; mirrored is all GPUs of this machine, on TensorFlow; jax is
    all devices of this machine, on JAX, or of several, which KERAS_DISTRIBUTION_JOB_ADDRESSES,
    KERAS_DISTRIBUTION_NUM_PROCESSES and KERAS_DISTRIBUTION_PROCESS_ID name. Each batch is divided
    among them: --batch-size counts the images on all of them together."""
    jit_compile: JitCompile = "auto"
    """Compile the training step with XLA: on, off, or auto, where Keras decides."""
    epochs: int = 10
    """Passes over the training images for each network."""
    train_images: int | None = None
    """Use the first so many training images; None uses all."""
    seed: int = 0
    """Seed of every random draw: weights, batches, flips, shifts, cells and permutations."""

    def __post_init__(self) -> None:
        check_at_least(self, 1, "epochs", "train_images")
        check_seed(self)
        one_of("precision", self.precision, get_args(Precision))
        one_of("jit_compile", self.jit_compile, get_args(JitCompile))
        if self.distribute not in DISTRIBUTIONS:
            raise ValueError(
                f"`distribute` must be one of {DISTRIBUTIONS}. Keras 3 cannot train with "
                "MultiWorkerMirroredStrategy or ParameterServerStrategy: for several hosts use the "
                "JAX backend (KERAS_BACKEND=jax) with distribute='jax'. "
                f"Received: distribute={self.distribute!r}"
            )
        if (self.distribute, self.jit_compile) == ("mirrored", "on"):
            raise ValueError(
                "TensorFlow cannot compile the step of a MirroredStrategy with XLA: jit_compile "
                "must be 'auto' or 'off' there, or the backend JAX (KERAS_BACKEND=jax) with "
                "distribute='jax'. Received: distribute='mirrored', jit_compile='on'"
            )

    @property
    def keras_jit_compile(self) -> bool | str:
        """The argument `jit_compile` of `keras.Model.compile`."""
        return "auto" if self.jit_compile == "auto" else self.jit_compile == "on"

    @classmethod
    def from_recorded(cls, recorded: dict, **places: Any) -> Any:
        """The settings of a finished run.

        Args:
            recorded: the settings in its `results.json`. A file of given weights, which the run has
                loaded, need not be there any more.
            **places: settings that are not recorded, such as `data_dir`.
        """
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in recorded.items()
        }
        if "weights" in values:
            values["weights"] = None
        return cls(**values, **places)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkSettings(TrainingSettings):
    """Settings that the experiments on single networks share."""

    depth: Literal[18, 34, 50] = 18
    """Depth of the ResNet."""
    width: int = 64
    """Channels of the ResNet's first stage; 64 is the paper's."""
    batch_size: int = 32
    """Images in one training step."""
    learning_rate: float = 1e-3
    """Learning rate of Adam (whose beta_1 is 0.5 here)."""
    test_images: int | None = None
    """Score on the first so many test images; None uses all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "width", "batch_size", "test_images")
        check_above_zero(self, "learning_rate")


def check_one_batch(train_images: int, batch_size: int) -> None:
    """Raises a `ValueError` if so many training images are less than one batch."""
    if train_images < batch_size:
        raise ValueError(
            f"There must be at least one batch of training images. Received: {train_images} "
            f"images, batch_size={batch_size}"
        )


def check_weights_file(path: str) -> None:
    """Raises an error if the file given as `weights` is not there, or not a weights file."""
    if not path.endswith(".weights.h5"):
        raise ValueError(
            "`weights` must be a file that Keras saved, whose name ends in .weights.h5. "
            f"Received: weights={path!r}"
        )
    if not pathlib.Path(path).expanduser().is_file():
        raise FileNotFoundError(f"`weights` is not there. Received: weights={path!r}")
