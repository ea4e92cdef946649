"""What does a sweep over eight sets of channels cost beyond its forward passes?

    python benchmarks/ablation.py

About 3 minutes on 2 cores; `--output timings.json` writes every round.

- `ablation_sweep` of eight sizes, DeepLabv3-ResNet-18 at 180x240 pixels, against its floor: one
  bare pass of the part before the feature map and eight of the part after it, through
  `predict_on_batch`. The sweep also masks channels, classifies pixels and counts the classes of
  three regions. Timed alternately, batch by batch, during one sweep; the first batch, which
  compiles the two parts, is excluded. Bound: 1.15.
- The same against eight bare passes of the whole network.
- The peak memory of `rank_channels` on 10,000 small images against 1,000, each in a separate
  process. Bound: 5 % more.

Bounds are printed but not enforced, since timings on a busy machine vary.
"""

import dataclasses
import multiprocessing
import pathlib
import time

import keras
import numpy as np
import tyro
from rich.progress import track
from timing import check, compare, in_words, peak_of_process, write

import keras_gappos as kg
from keras_gappos.surgery.split import split_at_feature_map

IMAGE_SHAPE = (180, 240, 3)
CLASSES, IGNORED = 11, 11
SIZES = 8
BOUND, MEMORY_BOUND = 1.15, 1.05
SMALL_SHAPE = (32, 32, 3)  # of the images whose ranking takes memory
FEW, MANY = 1_000, 10_000


@dataclasses.dataclass(frozen=True)
class Settings:
    """Time a sweep against its bare passes, and measure the memory of a ranking."""

    rounds: int = 30
    """Batches to time the sweep and each baseline on."""
    batch_size: int = 8
    """Images in one batch."""
    width: int = 32
    """Channels of the ResNet's first stage."""
    output: pathlib.Path | None = None
    """JSON file for all timings."""


def main(settings):
    check(settings)
    write(settings, __file__, [peak_memory(settings), *time_sweep(settings)])


def time_sweep(settings):
    """The rows of the sweep against its floor and against whole passes."""
    keras.utils.set_random_seed(0)
    model = kg.models.deeplabv3(IMAGE_SHAPE, CLASSES, depth=18, width=settings.width)
    parts = split_at_feature_map(model)
    for network in (model, parts.front, parts.back):
        network.compile()
    rng = np.random.default_rng(0)
    images = rng.random((settings.batch_size, *IMAGE_SHAPE), dtype="float32")
    masks = rng.integers(CLASSES + 1, size=images.shape[:3]).astype("uint8")

    def floor():
        features = [keras.ops.convert_to_tensor(t) for t in parts.front.predict_on_batch(images)]
        for _ in range(SIZES):
            parts.back.predict_on_batch(features)

    def whole():
        for _ in range(SIZES):
            model.predict_on_batch(images)

    seconds = {"sweep": [], "floor": [], "whole": []}

    def batches():
        for _ in track(range(1 + settings.rounds), "sweep", transient=True, refresh_per_second=1):
            start = time.perf_counter()
            yield images, masks  # until it asks for the next batch, the sweep is at work
            seconds["sweep"].append(time.perf_counter() - start)
            for name, function in (("floor", floor), ("whole", whole)):
                start = time.perf_counter()
                function()
                seconds[name].append(time.perf_counter() - start)

    kg.analysis.ablation_sweep(
        model,
        batches(),
        None,
        rng.permutation(parts.channels).tolist(),
        np.linspace(0, parts.channels, SIZES).astype(int),
        baselines=(),
        ignore_class=IGNORED,
        progress=False,
    )
    print(f"first batch, compilation included: {seconds['sweep'][0]:.1f} s")
    seconds = {name: np.array(values[1:]) for name, values in seconds.items()}
    return [
        reported("sweep of 8 sizes / its bare passes", "floor", seconds, BOUND),
        reported("sweep of 8 sizes / 8 whole passes", "whole", seconds, None),
    ]


def reported(what, reference, seconds, bound):
    """Prints a comparison of the sweep and returns its row."""
    comparison = compare(seconds["sweep"], seconds[reference])
    ending = "" if bound is None else f"; bound {bound}"
    print(f"{what}: {in_words(comparison)}{ending}", flush=True)
    return {
        "what": what,
        **comparison,
        "bound": bound,
        "seconds_per_batch": {name: seconds[name].tolist() for name in ("sweep", reference)},
    }


def peak_memory(settings):
    """The row of peak memory, each ranking measured in a separate process."""
    context = multiprocessing.get_context("spawn")
    mib = {}
    for count in (FEW, MANY):
        with context.Pool(1) as pool:
            mib[count] = pool.apply(memory_of_ranking, (settings.batch_size, count))
    ratio = mib[MANY] / mib[FEW]
    print(
        f"peak memory of ranking on {MANY:,} images {mib[MANY]:.0f} MiB, on {FEW:,} "
        f"{mib[FEW]:.0f} MiB, ratio {ratio:.3f}; bound {MEMORY_BOUND}",
        flush=True,
    )
    return {"what": "peak memory of ranking", "mib": mib, "ratio": ratio, "bound": MEMORY_BOUND}


def memory_of_ranking(batch_size, count):
    """Peak MiB of this process, libraries included, after ranking with `count` images.

    The arrays of 10,000 such images would take 117 MiB.
    """
    model = kg.models.resnet(18, SMALL_SHAPE, 10, width=8)
    rng = np.random.default_rng(0)
    batches = (
        rng.random((batch_size, *SMALL_SHAPE), dtype="float32")
        for _ in range(-(-count // batch_size))
    )
    kg.analysis.rank_channels(model, batches, progress=False)
    return peak_of_process()


if __name__ == "__main__":
    main(tyro.cli(Settings))
