"""The invariance experiment's tables, made from its rows."""

from __future__ import annotations

import pathlib

from rich.console import Group

from keras_gappos.data.segmentation_sets import plain_name
from keras_gappos.experiments.engine.markdown import (
    markdown_table,
    page,
    terminal_table,
    write_files,
)
from keras_gappos.experiments.engine.paper import compares_with_paper
from keras_gappos.experiments.invariance.figure import draw, name_of
from keras_gappos.experiments.invariance.methods import METHODS
from keras_gappos.tuning.objective import collapse_mark

# Islam et al., ICCV 2021, table of AugShift: ResNet-18; (top-1 %, consistency %).
PAPER = {
    "cifar10": {"resnet18": (93.1, 90.8), "blurpool": (92.5, 92.5), "augshift": (92.1, 94.8)},
    "cifar100": {"resnet18": (72.6, 70.1), "blurpool": (72.4, 78.2), "augshift": (72.6, 85.6)},
}
_SCORES = ("top-1 %", "random consistency %", "exact consistency %", "worst-case accuracy %")
_PAPERS = ("paper top-1 %", "paper consistency %")
_SHORT_SCORES = ("top-1\n%", "consist.\nrandom %", "consist.\nexact %", "worst-case\naccuracy %")
_SHORT_PAPERS = ("paper\ntop-1", "paper\ncons.")


def make_table(rows: list[dict]) -> Group:
    """Tables that fit 80 columns: the methods, circular shifts, and AugShift's weights on trial.

    Args:
        rows: the experiment's rows.
    """
    methods = ("network", *_SHORT_SCORES, *_SHORT_PAPERS)
    finals = _finals(rows)
    tables = [terminal_table(methods, map(_method_line, finals), 1)]
    if any(map(_circular, finals)):
        lines = [[name_of(row), _circular(row)] for row in finals]
        tables.append(terminal_table(("network", "consist.\ncircular %"), lines, 1))
    if trials := _trials(rows):
        weights = ("weight on trial", *_SHORT_SCORES)
        tables.append(terminal_table(weights, map(_trial_line, trials), 1))
    return Group(*tables)


def write_report(folder: pathlib.Path, results: dict, test_images: object = None) -> None:
    """Writes `table.md` and, once there are methods to compare, `figure.png` into `folder`.

    Args:
        folder: the experiment's output folder.
        results: the content of `results.json`.
        test_images: not used.
    """
    settings, rows = results["settings"], _finals(results["rows"])
    papers = {row["method"]: paper_of(settings | row) for row in rows}
    known = {method: paper for method, paper in papers.items() if paper is not None}
    figure = draw(rows, settings, known) if len(rows) > 1 else None
    write_files(folder, table(results), figure)


def table(results: dict) -> str:
    """The text of `table.md`.

    Args:
        results: the content of `results.json`.
    """
    settings = results["settings"]
    rows = [settings | row for row in results["rows"]]
    parts = [f"# Accuracy and shift consistency on {settings['dataset']}"]
    if finals := _finals(rows):
        methods = ("network", *_SCORES, "circular consistency %", "images seen", *_PAPERS)
        lines = [_method_line(row, _circular(row), _images_seen(row)) for row in finals]
        parts.append(markdown_table(methods, lines, 1))
        parts += _captions(finals, settings)
    if trials := _trials(rows):
        weights = ("weight on trial", *_SCORES)
        parts += [
            "## The consistency weight",
            markdown_table(weights, map(_trial_line, trials), 1),
            f"AugShift after {trials[0]['epochs']} epochs on {trials[0]['train_images']:,} "
            f"training images, scored on {trials[0]['test_images']:,} others. Chosen: the highest "
            "exact consistency with a top-1 at most "
            f"{settings['weight_tolerance']:g} below the best.",
        ]
    return page(results, *parts)


def _finals(rows):
    """The methods' rows, in the order of the tables."""
    rows = [row for row in rows if row["split"] == "test"]
    return sorted(rows, key=lambda row: list(METHODS).index(row["method"]))


def _trials(rows):
    """The rows of the consistency weights on trial, by weight."""
    rows = [row for row in rows if row["split"] == "validation"]
    return sorted(rows, key=lambda row: row["consistency_weight"])


def paper_of(row: dict) -> tuple[float, float] | None:
    """The paper's top-1 and consistency in percent; `None` where there are none to compare.

    Args:
        row: a row, with its `dataset` and `width`.
    """
    known = compares_with_paper(row, PAPER)
    return PAPER[plain_name(row["dataset"])].get(row["method"]) if known else None


def _method_line(row, *more):
    paper = paper_of(row)
    papers = ("", "") if paper is None else (f"{value:.1f}" for value in paper)
    return [name_of(row) + collapse_mark(row), *_scores(row), *more, *papers]


def _circular(row):
    name = "consistency_circular"
    return _with_error(row, name) if name in row else ""  # in older results


def _images_seen(row):
    return f"{row['images_seen'] / 1e6:.1f} M" if "images_seen" in row else ""


def _trial_line(row):
    return [f"{row['consistency_weight']:g}{collapse_mark(row)}", *_scores(row)]


def _scores(row):
    consistencies = (_with_error(row, f"consistency_{name}") for name in ("random", "exact"))
    return [f"{row['top1']:.2f}", *consistencies, f"{row['worst_case']:.2f}"]


def _with_error(row, name):
    error = row[f"{name}_stderr"]
    return f"{row[name]:.2f}" + ("" if error is None else f"±{error:.2f}")


def _captions(rows, settings):
    row, shift = rows[0], settings["max_shift"]
    fill = "the mean color" if settings["normalize"] else "black"
    weights = {row["consistency_weight"] for row in rows if "consistency_weight" in row}
    weight = f", consistency weight {min(weights):g}" if weights else ""
    seen = " Images seen: all that went through the network in training."
    seen = seen if any("images_seen" in row for row in rows) else ""
    circular = (
        " Circular: the random pairs again, but what leaves the image on one side comes in on the "
        "other; circular padding and polyphase sampling are made for such shifts alone."
    )
    circular = circular if any(map(_circular, rows)) else ""
    known = any(map(paper_of, rows))
    paper = " The paper: ResNet-18, width 64, random consistency." if known else ""
    return [
        f"Top-1: accuracy on {row['test_images']:,} unshifted test images. Consistency: how often "
        f"two shifts of an image, up to {shift} pixels on each axis with {fill} at the border, get "
        f"the same class. Random: {settings['pairs']} pairs of shifts for each image. Exact: all "
        f"pairs of the {(2 * shift + 1) ** 2} shifts, {row['consistency_images']:,} images. Worst-"
        "case accuracy: images that are correct under all of these shifts. ± is the standard error "
        f"over the images.{circular}",
        f"ResNet-{settings['depth']}, width {settings['width']}, {row['epochs']} epochs on "
        f"{row['train_images']:,} images, AugShift on two shifted copies of each. Training "
        f"shifts: up to {settings.get('train_shift') or shift} pixels, fill mode "
        f"{settings.get('fill_mode', 'constant')}{weight}.{seen}{paper}",
    ]
