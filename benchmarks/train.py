"""How many images per second does a GAPNet train on?

    python benchmarks/train.py

About 90 seconds on 2 cores, where 19 images/s were measured with TensorFlow;
`--output timings.json` writes every round.

The step is stock Keras's `train_on_batch` (forward, backward, Adam, accuracy), float32, on random
images already on the device. Prints one line per round, then the median. On a fast device, raise
`--steps` until a block takes about a second.
"""

import dataclasses
import pathlib

import keras
import numpy as np
import tyro
from keras import ops
from timing import alternate, check, training_step, write

import keras_gappos as kg

CELLS = 9  # outputs of the network: a 3x3 grid of 32x32 images at the default size


@dataclasses.dataclass(frozen=True)
class Settings:
    """Time a GAPNet's training step, in images per second."""

    rounds: int = 8
    """Timed blocks."""
    steps: int = 3
    """Training steps in one block."""
    batch_size: int = 48
    """Images in one step."""
    width: int = 64
    """Channels of the ResNet-18's first stage."""
    image_size: int = 96
    """Height and width of the input in pixels."""
    output: pathlib.Path | None = None
    """JSON file for all timings."""


def main(settings):
    check(settings)
    seconds = alternate(
        {"step": make_step(settings)}, settings.rounds, settings.steps, "training steps"
    )["step"]
    rates = settings.batch_size / seconds
    for number, rate in enumerate(rates, start=1):
        print(f"round {number}: {rate:.1f} images/s")
    print(f"median: {np.median(rates):.1f} images/s")
    row = {
        "what": "GAPNet training step",
        "images_per_second": float(np.median(rates)),
        "images_per_second_by_round": rates.tolist(),
    }
    write(settings, __file__, [row])


def make_step(settings):
    """A function that makes one training step of a fresh network."""
    keras.utils.set_random_seed(0)
    image_shape = (settings.image_size, settings.image_size, 3)
    model = kg.models.gapnet(image_shape, CELLS, width=settings.width)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3, beta_1=0.5), loss, metrics=["accuracy"])
    rng = np.random.default_rng(0)
    batches = [
        (
            ops.convert_to_tensor(rng.random((settings.batch_size, *image_shape), dtype="float32")),
            ops.convert_to_tensor(rng.integers(CELLS, size=settings.batch_size, dtype="int32")),
        )
        for _ in range(4)
    ]
    return training_step(model, batches)


if __name__ == "__main__":
    main(tyro.cli(Settings))
