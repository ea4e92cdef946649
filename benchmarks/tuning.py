"""How much faster is a search with two workers than with one, on one machine?

    python benchmarks/tuning.py

About 5 minutes on 2 cores; `--output timings.json` writes every round. Runs the same search on
digits with `keras-gappos tune --workers 1` and `--workers 2` in turn, each in an empty folder, and
times the whole command. Both must run the same trials, each once. Two workers gain little where one
keeps all cores busy.
"""

import dataclasses
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time

import numpy as np
import tyro
from timing import check, write

_SEARCH = shlex.split(
    "--dataset digits --tuner random --epochs 6 --measure-shift 1 --validation-images 300 "
    "--consistency-images 300 --space width=8 batch_size=32 max_shift=1:2 downsampling=stride"
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Time a search by one worker and by two."""

    rounds: int = 1
    """Runs of each search."""
    trials: int = 6
    """Trials of a search."""
    output: pathlib.Path | None = None
    """JSON file for all timings."""


def main(settings):
    check(settings)
    seconds = {1: [], 2: []}
    for _ in range(settings.rounds):
        made = {}
        for workers, times in seconds.items():
            elapsed, made[workers] = search(workers, settings.trials)
            times.append(elapsed)
            print(f"{workers} worker{'s' * (workers > 1)}: {elapsed:.0f} s", flush=True)
        assert made[1] == made[2], made
    ratios = np.divide(seconds[2], seconds[1])
    print(f"two workers / one: {np.median(ratios):.3f}")
    row = {
        "what": "two workers / one",
        "ratio": float(np.median(ratios)),
        "seconds_of_one": seconds[1],
        "seconds_of_two": seconds[2],
    }
    write(settings, __file__, [row])


def search(workers, trials):
    """Runs a search; returns its seconds and the settings of each trial."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--output-dir", folder, "--trials", str(trials), "--workers", str(workers)]
        command = [sys.executable, "-m", "keras_gappos.cli.main", "tune", *_SEARCH, *flags]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        elapsed = time.perf_counter() - start
        rows = json.loads((pathlib.Path(folder) / "results.json").read_text())["rows"]
    assert [row["starts"] for row in rows] == [1] * trials, rows
    return elapsed, [row["settings"] for row in rows]


if __name__ == "__main__":
    main(tyro.cli(Settings))
