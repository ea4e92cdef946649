"""What does AugShift cost beyond a batch of twice the size?

    python benchmarks/augshift.py

About 8 minutes on 2 cores; `--output timings.json` writes every round.

Each comparison is timed alternately within this run, with a ResNet-18 on 32x32 images:

- AugShift's training step on B images against the stock Keras step of the same network on 2B
  images, which is the same arithmetic without the shift and the consistency term. Both use
  `train_on_batch` on tensors already on the device. Bound: 1.05.
- `RandomShift`, compiled, against the stock training step on the same B images. Bound: 0.03.
- `shift_consistency(..., protocol="exact", max_shift=4)` against its 81 bare forward passes through
  `predict_on_batch`, on unshifted images. Bound: 1.10.
- The peak memory of both training steps: on a GPU as the backend reports it, otherwise the growth
  of a separate process during training.

Bounds are printed but not enforced, since timings on a busy machine vary.
"""

import dataclasses
import itertools
import multiprocessing
import pathlib

import keras
import numpy as np
import tyro
from keras import ops
from timing import (
    alternate,
    check,
    compare,
    compiled,
    in_words,
    peak_of_process,
    training_step,
    wait,
    write,
)

import keras_gappos as kg

IMAGE_SHAPE = (32, 32, 3)
CLASSES = 10
MAX_SHIFT = 4
BATCHES = 4  # different ones, so that no batch stays in the processor's cache


@dataclasses.dataclass(frozen=True)
class Settings:
    """Time AugShift against stock training, and exact consistency against bare forward passes."""

    rounds: int = 15
    """Blocks of each contestant."""
    steps: int = 3
    """Training steps in one block."""
    batch_size: int = 64
    """Images B of one AugShift step."""
    exact_images: int = 512
    """Images whose exact consistency is measured, in one block."""
    width: int = 16
    """Channels of the ResNet-18's first stage."""
    output: pathlib.Path | None = None
    """JSON file for all timings."""


def main(settings):
    check(settings)
    rows = [peak_memory(settings), *time_steps(settings), time_exact(settings)]
    write(settings, __file__, rows)


def time_steps(settings):
    """The rows of AugShift's step and of RandomShift's share."""
    single, double = draw_batches(settings.batch_size), draw_batches(2 * settings.batch_size)
    shift = compiled(random_shift(kg.layers.RandomShift(MAX_SHIFT, seed=0)))
    images = itertools.cycle([batch[0] for batch in single])
    seconds = alternate(
        {
            "augshift": training_step(compiled_model(settings.width, augshift=True), single),
            "stock_2b": training_step(compiled_model(settings.width), double),
            "stock_b": training_step(compiled_model(settings.width), single),
            "random_shift": lambda: wait(shift(next(images))),
        },
        settings.rounds,
        settings.steps,
        "training steps",
    )
    return [
        reported("AugShift's step on B images / stock step on 2B", "augshift", "stock_2b", seconds),
        reported("RandomShift / stock step on B images", "random_shift", "stock_b", seconds),
    ]


def time_exact(settings):
    """The row of exact consistency."""
    model = compiled_model(settings.width)
    rng = np.random.default_rng(0)
    images = rng.random((settings.exact_images, *IMAGE_SHAPE), dtype="float32")
    shifts = (2 * MAX_SHIFT + 1) ** 2
    batches = [
        ops.convert_to_tensor(images[start : start + settings.batch_size])
        for start in range(0, len(images), settings.batch_size)
    ]

    def bare():
        for batch in batches:
            for _ in range(shifts):
                model.predict_on_batch(batch)

    def exact():
        kg.analysis.shift_consistency(
            model,
            images,
            "exact",
            MAX_SHIFT,
            batch_size=settings.batch_size,
            progress=False,
        )

    rounds = max(3, settings.rounds // 3)
    seconds = alternate({"exact": exact, "bare": bare}, rounds, 1, "exact consistency")
    return reported("exact consistency / its forward passes bare", "exact", "bare", seconds)


BOUNDS = {"augshift": 1.05, "random_shift": 0.03, "exact": 1.10}


def reported(what, name, reference, seconds):
    """Prints a comparison and returns its row."""
    comparison = compare(seconds[name], seconds[reference])
    print(f"{what}: {in_words(comparison)}; bound {BOUNDS[name]}", flush=True)
    return {
        "what": what,
        **comparison,
        "bound": BOUNDS[name],
        "seconds_per_step": {key: seconds[key].tolist() for key in (name, reference)},
    }


def peak_memory(settings):
    """The row of peak memory, each step measured in a separate process."""
    context = multiprocessing.get_context("spawn")
    mib = {}
    for name, augshift in {"augshift": True, "stock_2b": False}.items():
        with context.Pool(1) as pool:
            arguments = (settings.width, settings.batch_size, augshift)
            mib[name] = pool.apply(memory_of_training, arguments)
    ratio = mib["augshift"] / mib["stock_2b"]
    print(
        f"peak memory: AugShift's step {mib['augshift']:.0f} MiB, stock step on 2B images "
        f"{mib['stock_2b']:.0f} MiB, ratio {ratio:.3f}",
        flush=True,
    )
    return {"what": "peak memory", "mib": mib, "ratio": ratio}


def memory_of_training(width, batch_size, augshift):
    """Peak MiB of a few training steps."""
    model = compiled_model(width, augshift)
    step = training_step(model, draw_batches(batch_size if augshift else 2 * batch_size))
    before = peak_of_process()
    for _ in range(4):
        step()
    return peak_of_device() or peak_of_process() - before


def peak_of_device():
    """Peak MiB of the GPU, or `None` without one."""
    if keras.backend.backend() == "jax":
        import jax

        counted = jax.devices()[0].memory_stats() or {}
        return counted.get("peak_bytes_in_use", 0) / 2**20 or None
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
    return None


def draw_batches(batch_size):
    """Random images and labels, on the device."""
    rng = np.random.default_rng(0)
    return [
        (
            ops.convert_to_tensor(rng.random((batch_size, *IMAGE_SHAPE), dtype="float32")),
            ops.convert_to_tensor(rng.integers(CLASSES, size=batch_size)),
        )
        for _ in range(BATCHES)
    ]


def compiled_model(width, augshift=False):
    """A ResNet-18, itself or in AugShift, ready to train."""
    keras.utils.set_random_seed(0)
    model = kg.models.resnet(18, IMAGE_SHAPE, CLASSES, width=width)
    if augshift:
        model = kg.AugShift(model, MAX_SHIFT, seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return model


def random_shift(layer):
    """The layer in training mode, stateless so that JAX can compile it."""

    def shift(images):
        with keras.StatelessScope():
            return layer(images, training=True)

    return shift


if __name__ == "__main__":
    main(tyro.cli(Settings))
