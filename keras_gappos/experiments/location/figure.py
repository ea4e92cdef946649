"""The location experiment's figure: accuracy by grid size, and canvases with their cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_gappos.analysis.plots import COLORS
from keras_gappos.experiments.engine.pictures import add_legend, readable, training_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"gapnet": "GAPNet", "permutenet": "PermuteNet"}
_COLORS = {"gapnet": COLORS["blue"], "permutenet": COLORS["vermilion"]}
_MARKERS = {"gapnet": "o", "permutenet": "s"}
_CHANCE = {"color": "black", "ls": "--", "lw": 1.5, "label": "chance"}
_FRAME = COLORS["sky"]
_ANSWERS = {
    "correct": {"marker": "o", "color": COLORS["sky"]},
    "wrong": {"marker": "X", "color": COLORS["orange"]},
}
_ACCURACY = "location accuracy\n(% of test images)"


@readable
def draw(rows: list[dict], test_images: np.ndarray | None, settings: dict) -> Figure:
    """Draws accuracy by grid size and, beside it, canvases with the true and the predicted cell.

    With several paddings, canvases and curves are of the first, and bars compare all of them.

    Args:
        rows: the experiment's location rows, at least one.
        test_images: float `(n, height, width, channels)`; `None` draws gray squares instead.
        settings: those of `results.json`.
    """
    from matplotlib.figure import Figure

    paddings = list(dict.fromkeys(row["padding"] for row in rows))
    first = [row for row in rows if row["padding"] == paddings[0]]
    grids = sorted({row["grid_size"] for row in rows})
    galleries = [row for row in first if row["grid_size"] == min(r["grid_size"] for r in first)]
    heights = [1.2 + 1.8 * max(2, len(galleries))]
    compared = len(paddings) > 1 and len(grids) > 1
    heights += [3.6] * compared
    figure = Figure(figsize=(11, 0.8 + sum(heights)), layout="constrained")
    figure.suptitle(f"Which cell of a grid is the image on?\n{training_line(settings, rows)}")
    top, *bottom = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    left, right = top.subfigures(1, 2, width_ratios=(1, 1.35))
    if len(grids) > 1:
        _draw_curves(left, first)
    else:
        _draw_bars(left, rows, paddings)
    if compared:
        _draw_bars(bottom[0], rows, paddings)
    if paddings[1:]:
        right.suptitle(f"padding: {paddings[0]}")
    _draw_gallery(right, galleries, test_images)
    return figure


def _draw_curves(figure, rows):
    """Accuracy by grid size, a curve for each network."""
    ax = figure.subplots()
    grids = sorted({row["grid_size"] for row in rows})
    for network in dict.fromkeys(row["network"] for row in rows):
        points = sorted((r["grid_size"], r["accuracy"]) for r in rows if r["network"] == network)
        style = {"color": _COLORS[network], "marker": _MARKERS[network]}
        ax.plot(*zip(*points), lw=2, label=NAMES[network], **style)
        for point in points:
            ax.annotate(
                f"{point[1]:.1f}",
                point,
                (0, 8),
                textcoords="offset points",
                ha="center",
                color=_COLORS[network],
            )
    ax.plot(grids, [100 / grid_size**2 for grid_size in grids], **_CHANCE)
    ax.set(xlabel="grid (cells along each side)", ylabel=_ACCURACY, ylim=(0, 112))
    ax.set_xticks(grids, [f"{grid_size}x{grid_size}" for grid_size in grids])
    ax.margins(x=0.12)
    ax.grid(alpha=0.3)
    add_legend(figure)


def _draw_bars(figure, rows, paddings):
    """A bar for each network and grid size, with chance on it, side by side for each padding."""
    ax = figure.subplots()
    series = sorted({_series(row) for row in rows})
    grids = sorted({grid_size for _, grid_size in series})
    width = 0.8 / len(series)
    for index, (network, grid_size) in enumerate(series):
        found = {r["padding"]: r["accuracy"] for r in rows if _series(r) == (network, grid_size)}
        places = [paddings.index(padding) + (index + 0.5) * width - 0.4 for padding in found]
        bars = ax.bar(
            places,
            list(found.values()),
            0.92 * width,
            color=_COLORS[network],
            alpha=1 - 0.7 * grids.index(grid_size) / len(grids),
            label=f"{NAMES[network]}, {grid_size}x{grid_size} cells",
        )
        chance = 100 / grid_size**2
        texts = [f"{value:.0f}" for value in found.values()]
        ax.bar_label(bars, texts, padding=3, rotation=90 if width < 0.2 else 0)
        low, high = np.array(places) - width / 2, np.array(places) + width / 2
        label = _CHANCE["label"] if index == 0 else None
        ax.hlines([chance] * len(places), low, high, color="black", ls="--", lw=1.5, label=label)
    ax.set_xticks(range(len(paddings)), paddings)
    ax.set(xlabel="padding of the convolutions", ylabel=_ACCURACY, ylim=(0, 130))
    ax.set_yticks(range(0, 101, 20))
    ax.set_xlim(-0.6, len(paddings) - 0.4)
    add_legend(figure)


def _series(row):
    return row["network"], row["grid_size"]


def _draw_gallery(figure, rows, test_images):
    """Canvases with the true and the predicted cell, a line for each network."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    all_axes = figure.subplots(len(rows), len(rows[0]["examples"]), squeeze=False)
    for row, axes in zip(rows, all_axes):
        for example, ax in zip(row["examples"], axes):
            image = np.full(row["image_shape"], 0.6)
            if test_images is not None:
                image = test_images[example["image"]]
                image = (image - image.min()) / max(np.ptp(image), 1e-6)
            _draw_canvas(ax, example, image, row["grid_size"])
        axes[0].set_ylabel(f"{NAMES[row['network']]}\n{row['accuracy']:.1f} % correct")
    handles = [Patch(color="0.6", label="image")] if test_images is None else []
    handles.append(Patch(facecolor="black", edgecolor=_FRAME, lw=2, label="its cell"))
    answers = [example["predicted"] == example["cell"] for r in rows for example in r["examples"]]
    handles += [
        Line2D([], [], ls="", mec="black", ms=10, label=f"predicted, {name}", **style)
        for name, style in _ANSWERS.items()
        if (name == "correct") in answers
    ]
    add_legend(figure, *handles)


def _draw_canvas(ax, example, image, grid_size):
    from matplotlib.patches import Rectangle

    height, width, channels = image.shape
    row, column = divmod(example["cell"], grid_size)
    canvas = np.zeros((grid_size * height, grid_size * width, channels))
    canvas[row * height : (row + 1) * height, column * width : (column + 1) * width] = image
    ax.imshow(canvas.repeat(3, -1) if channels == 1 else canvas)
    for line in range(1, grid_size):
        ax.axhline(line * height - 0.5, color="white", lw=0.5, alpha=0.4)
        ax.axvline(line * width - 0.5, color="white", lw=0.5, alpha=0.4)
    corner = (column * width - 0.5, row * height - 0.5)
    ax.add_patch(Rectangle(corner, width, height, fill=False, color=_FRAME, lw=3))
    correct = example["predicted"] == example["cell"]
    row, column = divmod(example["predicted"], grid_size)
    answer = "correct" if correct else "wrong"
    place = ((column + 0.5) * width - 0.5, (row + 0.5) * height - 0.5)
    ax.plot(*place, mec="black", ms=12, **_ANSWERS[answer])
    ax.set_title(answer)
    ax.set(xticks=[], yticks=[])
