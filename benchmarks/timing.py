"""Time functions alternately, and write the timings to a file."""

import dataclasses
import itertools
import json
import pathlib
import resource
import shlex
import sys
import time

import keras
import numpy as np
from rich.progress import track

from keras_gappos.experiments.engine.results import environment
from keras_gappos.files import replacing


def alternate(contestants, rounds, steps, description):
    """Times functions in turn, in short blocks, so that a slow machine slows them all.

    Args:
        contestants: dictionary of functions without arguments; each must return only when its
            work is done. Two warm-up calls, for compilation, are not timed.
        rounds: number of blocks of each; the order is reversed from round to round.
        steps: calls in one block.
        description: title of the progress bar.

    Returns:
        Dictionary from name to seconds per call, an array `(rounds,)`.
    """
    for function in [*contestants.values()] * 2:
        function()
    seconds = {name: [] for name in contestants}
    order = list(contestants)
    for _ in track(range(rounds), description, transient=True, refresh_per_second=1):
        for name in order:
            start = time.perf_counter()
            for _ in range(steps):
                contestants[name]()
            seconds[name].append((time.perf_counter() - start) / steps)
        order.reverse()
    return {name: np.array(values) for name, values in seconds.items()}


def compare(seconds, reference):
    """The ratio of two functions' median times, and its spread over the rounds."""
    low, lower, upper, high = np.quantile(seconds / reference, (0, 0.25, 0.75, 1))
    return {
        "ratio": float(np.median(seconds) / np.median(reference)),
        "ratio_quartiles": [float(lower), float(upper)],
        "ratio_range": [float(low), float(high)],
    }


def in_words(comparison):
    """A comparison as one line of text."""
    lower, upper = comparison["ratio_quartiles"]
    low, high = comparison["ratio_range"]
    spread = f"half of the rounds in {lower:.3f} .. {upper:.3f}, all in {low:.3f} .. {high:.3f}"
    return f"{comparison['ratio']:.3f} ({spread})"


def training_step(model, batches):
    """A function that trains on the next batch and waits for the loss."""
    batches = itertools.cycle(batches)
    return lambda: model.train_on_batch(*next(batches))


def compiled(function):
    """The function compiled by the backend (unchanged on torch)."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    return function


def wait(images):
    """Reads one pixel, which waits for the device to finish."""
    return keras.ops.convert_to_numpy(images[-1, -1, -1])


def peak_of_process():
    """Peak MiB of this process (Linux counts KiB, macOS bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def check(settings):
    """Raises a `ValueError` or `OSError` at once for settings that would fail after the timing."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, int) and value < 1:
            raise ValueError(f"`{field.name}` must be at least 1. Received: {field.name}={value}")
    if settings.output is not None and not settings.output.expanduser().parent.is_dir():
        raise FileNotFoundError(
            f"`output` must be a file in a folder that exists. Received: output={settings.output}"
        )


def write(settings, script, rows):
    """Writes a benchmark's rows to `settings.output`, if set, as JSON.

    Args:
        settings: the benchmark's dataclass; `output` is its file.
        script: the benchmark's `__file__`.
        rows: a list of dictionaries.
    """
    if settings.output is None:
        return
    name = pathlib.Path(script).name
    values = {k: v for k, v in dataclasses.asdict(settings).items() if k != "output"}
    given = {k: v for k, v in values.items() if v is not None}
    flags = [word for k, v in given.items() for word in (f"--{k.replace('_', '-')}", str(v))]
    content = {
        "benchmark": name.removesuffix(".py"),
        "command": shlex.join(["python", f"benchmarks/{name}", *flags]),
        "settings": values,
        "environment": environment(),
        "rows": rows,
    }
    with replacing(settings.output.expanduser()) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    print(f"written: {settings.output}")
