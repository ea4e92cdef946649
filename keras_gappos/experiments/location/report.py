"""The location experiment's table, made from its rows."""

from __future__ import annotations

import pathlib

import numpy as np
from rich.table import Table

from keras_gappos.experiments.engine.markdown import (
    markdown_table,
    page,
    terminal_table,
    write_files,
)
from keras_gappos.experiments.engine.paper import compares_with_paper
from keras_gappos.experiments.location.figure import NAMES, draw

# Islam et al., ICCV 2021, table 1: ResNet-18, CIFAR-10; (network, task, grid size) -> percent.
PAPER = {
    ("gapnet", "location", 3): 100.0,
    ("gapnet", "location", 7): 100.0,
    ("gapnet", "class", 3): 82.6,
    ("gapnet", "class", 7): 82.1,
    ("permutenet", "location", 3): 78.8,
    ("permutenet", "location", 7): 21.4,
    ("permutenet", "class", 3): 73.6,
    ("permutenet", "class", 7): 69.9,
}
_HEADINGS = ("network", "task", "grid", "accuracy %", "paper %", "chance %", "epochs", "seconds")


def make_table(rows: list[dict]) -> Table:
    """A table that fits 80 columns: our accuracies, chance and, where they compare, the paper's.

    Args:
        rows: the experiment's rows.
    """
    return terminal_table(*_lines(rows))


def write_report(
    folder: pathlib.Path, results: dict, test_images: np.ndarray | None = None
) -> None:
    """Writes `table.md` and, if there are location rows, `figure.png` into `folder`.

    Args:
        folder: the experiment's output folder.
        results: the content of `results.json`.
        test_images: float `(n, height, width, channels)`; `None` draws gray squares instead.
    """
    rows = [row for row in results["rows"] if row["task"] == "location"]
    figure = draw(rows, test_images, results["settings"]) if rows else None
    write_files(folder, table(results), figure)


def table(results: dict) -> str:
    """The text of `table.md`.

    Args:
        results: the content of `results.json`.
    """
    settings = results["settings"]
    rows = [settings | row for row in results["rows"]]
    standardized = (
        ", standardized per channel (a canvas is the mean color)" if settings["normalize"] else ""
    )
    return page(
        results,
        f"# Location and class accuracy on {settings['dataset']}",
        markdown_table(*_lines(rows)),
        "Accuracy in percent: the mean over test passes with fresh random cells. Seconds of "
        "training.",
        f"ResNet-{settings['depth']}, width {settings['width']}; {rows[0]['train_images']:,} "
        f"training images, {rows[0]['test_images']:,} test images{standardized}."
        + (" The paper: width 64, 20 epochs." if any(map(paper_of, rows)) else ""),
    )


def paper_of(row: dict) -> float | None:
    """The paper's accuracy in percent; `None` where there is none to compare.

    Args:
        row: a row, with its `dataset` and `width`.
    """
    key = row["network"], row["task"], row["grid_size"]
    comparable = row["padding"] == "zeros" and compares_with_paper(row, ("cifar10",))
    return PAPER.get(key) if comparable else None


def _lines(rows):
    """Headings, lines, and the number of text columns of the rows' table."""
    if {row["padding"] for row in rows} <= {"zeros"}:
        return _HEADINGS, map(_line, rows), 2
    lines = ([row["padding"], *_line(row)] for row in rows)
    return ("padding", *_HEADINGS), lines, 3


def _line(row):
    paper = paper_of(row)
    return [
        NAMES[row["network"]],
        row["task"],
        f"{row['grid_size']}x{row['grid_size']}",
        f"{row['accuracy']:.1f}",
        "" if paper is None else f"{paper:.1f}",
        f"{row['chance']:.1f}",
        str(row["epochs"]),
        f"{row['seconds']:.0f}",
    ]
