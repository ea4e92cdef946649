"""Time things alternately, and write the figures down."""

import dataclasses
import json
import pathlib
import shlex
import time

import numpy as np
from rich.progress import track

from keras_gappos.experiments.engine.results import environment
from keras_gappos.files import replacing


def alternate(contestants, rounds, steps, description):
    """Times functions in turn, in short blocks, so that a slow spell of the machine hits them all.

    Args:
        contestants: functions without arguments, by name; each must return only when its work is
            done. Two calls before the clock starts leave room for compilation.
        rounds: number of blocks of each; the order is reversed from round to round.
        steps: calls in one block.
        description: what the progress bar says.

    Returns:
        Seconds a call, one figure a round: a dictionary from each name to an array `(rounds,)`.
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
    """The ratio of two contestants' times: of their medians, and how it spreads over the rounds."""
    low, lower, upper, high = np.quantile(seconds / reference, (0, 0.25, 0.75, 1))
    return {
        "ratio": float(np.median(seconds) / np.median(reference)),
        "ratio_quartiles": [float(lower), float(upper)],
        "ratio_range": [float(low), float(high)],
    }


def in_words(comparison):
    """A comparison as a line prints it."""
    lower, upper = comparison["ratio_quartiles"]
    low, high = comparison["ratio_range"]
    spread = f"half of the rounds in {lower:.3f} .. {upper:.3f}, all in {low:.3f} .. {high:.3f}"
    return f"{comparison['ratio']:.3f} ({spread})"


def check(settings):
    """Raises a `ValueError` or `OSError` for settings that would fail only after the timing."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, int) and value < 1:
            raise ValueError(f"`{field.name}` must be at least 1. Received: {field.name}={value}")
    if settings.output is not None and not settings.output.expanduser().parent.is_dir():
        raise FileNotFoundError(
            f"`output` must be a file in a folder that exists. Received: output={settings.output}"
        )


def write(settings, script, rows):
    """Writes a benchmark's figures to `settings.output`, if that is set, as JSON.

    Args:
        settings: the benchmark's dataclass; `output` is its file.
        script: the benchmark's `__file__`.
        rows: its figures, a list of dictionaries.
    """
    if settings.output is None:
        return
    name = pathlib.Path(script).name
    values = {k: v for k, v in dataclasses.asdict(settings).items() if k != "output"}
    flags = [word for k, v in values.items() for word in (f"--{k.replace('_', '-')}", str(v))]
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
