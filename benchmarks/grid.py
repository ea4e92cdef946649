"""What does it cost to put the images on the grid in the training step?

    python benchmarks/grid.py

About 3 minutes on 2 cores. Expect a step ratio near 1; `--output timings.json` writes every round.

Two comparisons at each grid size, each timed alternately within this run:

- `GridTask`'s training step on images against the stock Keras training step of the same network on
  canvases made beforehand. Both use `train_on_batch` on tensors already on the device.
  Bound: 1.03, printed but not enforced, since timings on a busy machine vary.
- `GridPlacement`, compiled (`tf.function`, `jax.jit`) as in a training step, against a NumPy loop
  that fills one cell per image, with and without the transfer to the device. The loop alone never
  touches the black pages: the operating system zeroes them when they are first read.
"""

import dataclasses
import itertools
import pathlib

import keras
import numpy as np
import tyro
from keras import ops
from timing import alternate, check, compare, compiled, in_words, training_step, wait, write

import keras_gappos as kg

IMAGE_SHAPE = (32, 32, 3)
GRIDS = (3, 7)
BOUND = 1.03
BATCHES = 4  # different ones, so that no batch stays in the processor's cache


@dataclasses.dataclass(frozen=True)
class Settings:
    """Time the grid: GridTask against stock training, GridPlacement against a NumPy loop."""

    rounds: int = 15
    """Blocks of each contestant."""
    steps: int = 3
    """Training steps in one block (placements: five times as many)."""
    batch_size: int = 48
    """Images in one step."""
    width: int = 16
    """Channels of the ResNet-18's first stage."""
    output: pathlib.Path | None = None
    """JSON file for all timings."""


def main(settings):
    check(settings)
    rows = []
    for grid_size in GRIDS:
        rows.append(time_step(settings, grid_size))
        rows.append(time_placement(settings, grid_size))
    write(settings, __file__, rows)


def time_step(settings, grid_size):
    images, cells = draw_batches(settings.batch_size, grid_size)
    place = kg.layers.GridPlacement(grid_size)
    placed = [(place(x, y), ops.convert_to_tensor(y)) for x, y in zip(images, cells)]
    plain = [(ops.convert_to_tensor(x), None) for x in images]
    stock = compiled_model(settings.width, grid_size)
    task = compiled_model(settings.width, grid_size, as_task=True)
    seconds = alternate(
        {"stock": training_step(stock, placed), "grid_task": training_step(task, plain)},
        settings.rounds,
        settings.steps,
        f"training steps, {grid_size}x{grid_size}",
    )
    comparison = compare(seconds["grid_task"], seconds["stock"])
    print(f"{grid_size}x{grid_size}  GridTask's step / stock step: {in_words(comparison)}")
    print(f"     bound {BOUND}; stock step {milliseconds(seconds['stock'])}", flush=True)
    return {
        "what": "GridTask step / stock step",
        "grid_size": grid_size,
        **comparison,
        "bound": BOUND,
        "seconds_per_step": listed(seconds),
    }


def time_placement(settings, grid_size):
    images, cells = draw_batches(settings.batch_size, grid_size)
    place = compiled(kg.layers.GridPlacement(grid_size))
    on_device = [tuple(map(ops.convert_to_tensor, pair)) for pair in zip(images, cells)]
    on_device, on_host = itertools.cycle(on_device), itertools.cycle(zip(images, cells))
    seconds = alternate(
        {
            "grid_placement": lambda: wait(place(*next(on_device))),
            "loop": lambda: fill_cells(*next(on_host), grid_size),
            "loop_to_device": lambda: wait(
                ops.convert_to_tensor(fill_cells(*next(on_host), grid_size))
            ),
        },
        settings.rounds,
        5 * settings.steps,
        f"placements, {grid_size}x{grid_size}",
    )
    comparisons = {
        "loop": compare(seconds["grid_placement"], seconds["loop"]),
        "loop_to_device": compare(seconds["grid_placement"], seconds["loop_to_device"]),
    }
    print(f"{grid_size}x{grid_size}  GridPlacement / NumPy loop: {in_words(comparisons['loop'])}")
    print(f"     / loop and transfer to the device: {in_words(comparisons['loop_to_device'])}")
    print(f"     GridPlacement {milliseconds(seconds['grid_placement'])}", flush=True)
    return {
        "what": "GridPlacement / NumPy loop",
        "grid_size": grid_size,
        **comparisons,
        "seconds_per_step": listed(seconds),
    }


def draw_batches(batch_size, grid_size):
    """Random images `(BATCHES, batch, height, width, channels)` and cells `(BATCHES, batch)`."""
    rng = np.random.default_rng(0)
    images = rng.random((BATCHES, batch_size, *IMAGE_SHAPE), dtype="float32")
    return images, rng.integers(grid_size**2, size=(BATCHES, batch_size), dtype="int32")


def compiled_model(width, grid_size, as_task=False):
    """A GAPNet that names the cell, itself or in a GridTask, ready to train."""
    keras.utils.set_random_seed(0)
    height, image_width, channels = IMAGE_SHAPE
    canvas = (grid_size * height, grid_size * image_width, channels)
    model = kg.models.gapnet(canvas, grid_size**2, width=width)
    if as_task:
        model = kg.GridTask(model, grid_size, seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3, beta_1=0.5), loss, metrics=["accuracy"])
    return model


def fill_cells(images, cells, grid_size):
    """What `place_on_grid` does, as a loop over images."""
    batch, height, width, channels = images.shape
    canvases = np.zeros((batch, grid_size * height, grid_size * width, channels), images.dtype)
    for canvas, image, cell in zip(canvases, images, cells):
        top, left = height * (cell // grid_size), width * (cell % grid_size)
        canvas[top : top + height, left : left + width] = image
    return canvases


def milliseconds(seconds):
    return f"{1000 * np.median(seconds):.1f} ms"


def listed(seconds):
    return {name: values.tolist() for name, values in seconds.items()}


if __name__ == "__main__":
    main(tyro.cli(Settings))
