"""Settings that all experiments share: the data, the output, and how a training is computed."""

import dataclasses
from typing import Annotated, Literal, get_args

import tyro

from keras_gappos.arguments import one_of

Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]
DISTRIBUTIONS = ("none", "mirrored", "jax")
# A string, so that what Keras cannot do is refused with the way that works.
Distribute = Annotated[str, tyro.conf.arg(metavar=f"{{{','.join(DISTRIBUTIONS)}}}")]
JitCompile = Literal["auto", "on", "off"]


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """Settings that all experiments share; those in their own words they declare again."""

    dataset: str = "digits"
    """Data set: digits, or an image-classification set of TensorFlow Datasets by name."""
    data_dir: str | None = None
    """Folder of prepared TensorFlow Datasets; None is ~/tensorflow_datasets."""
    output_dir: str = "results"
    """Folder for what the experiment gives; a run that was stopped goes on from what is in it."""
    _: dataclasses.KW_ONLY
    precision: Precision = "float32"
    """Keras dtype policy, in training and in the scores."""
    distribute: Distribute = "none"
    """Devices to train on: none is one; mirrored is all GPUs of this machine, on TensorFlow; jax is
    all devices of this machine, on JAX, or of several, which KERAS_DISTRIBUTION_JOB_ADDRESSES,
    KERAS_DISTRIBUTION_NUM_PROCESSES and KERAS_DISTRIBUTION_PROCESS_ID name. Each batch is divided
    among them: --batch-size counts the images on all of them together."""
    jit_compile: JitCompile = "auto"
    """Compile the training step with XLA: on, off, or auto, where Keras decides."""

    def __post_init__(self):
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
    def keras_jit_compile(self):
        """The argument `jit_compile` of `keras.Model.compile`."""
        return {"auto": "auto", "on": True, "off": False}[self.jit_compile]
