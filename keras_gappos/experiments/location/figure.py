"""The location experiment's figure: accuracy by grid size, and canvases with their cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"gapnet": "GAPNet", "permutenet": "PermuteNet"}
_COLORS = {"gapnet": "tab:blue", "permutenet": "tab:orange"}


def draw(rows: list[dict], test_images: np.ndarray | None, dataset: str) -> Figure:
    """Draws accuracy by grid size and, beside it, canvases with the true and the predicted cell.

    Below them, if there are several, it draws the accuracy by padding; above, only the first.

    Args:
        rows: the experiment's location rows, at least one.
        test_images: float `(n, height, width, channels)`; `None` draws gray squares instead.
        dataset: its name, for the title.
    """
    from matplotlib.figure import Figure

    paddings = list(dict.fromkeys(row["padding"] for row in rows))
    every, rows = rows, [row for row in rows if row["padding"] == paddings[0]]
    shown = min(row["grid_size"] for row in rows)
    galleries = [row for row in rows if row["grid_size"] == shown]
    height = 1.0 + 1.9 * max(2, len(galleries))
    more = 3.2 if len(paddings) > 1 else 0.0
    figure = Figure(figsize=(11, height + more), layout="constrained")
    top = figure
    if more:
        top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(height, more))[:, 0]
        _draw_paddings(bottom.subplots(), every, paddings, dataset)
    left, right = top.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.35))[0]
    _draw_curves(left.subplots(), rows, dataset)
    title = "Gray: the image." if test_images is None else "Where is the image?"
    right.suptitle(f"{title} Frame: true cell. Cross: predicted cell.", fontsize=11)
    all_axes = right.subplots(len(galleries), len(galleries[0]["examples"]), squeeze=False)
    for row, axes in zip(galleries, all_axes):
        for example, ax in zip(row["examples"], axes):
            image = np.full(row["image_shape"], 0.6)
            if test_images is not None:
                image = test_images[example["image"]]
                image = (image - image.min()) / max(np.ptp(image), 1e-6)
            _draw_canvas(ax, example, image, shown)
        axes[0].set_ylabel(f"{NAMES[row['network']]}\n{row['accuracy']:.1f} % correct", fontsize=11)
    return figure


def _draw_curves(ax, rows, dataset):
    grids = sorted({row["grid_size"] for row in rows})
    for network in dict.fromkeys(row["network"] for row in rows):
        points = sorted((r["grid_size"], r["accuracy"]) for r in rows if r["network"] == network)
        ax.plot(*zip(*points), "o-", color=_COLORS[network], lw=2, label=NAMES[network])
        for grid_size, accuracy in points:
            ax.annotate(
                f"{accuracy:.1f}",
                (grid_size, accuracy),
                (0, 8),
                textcoords="offset points",
                ha="center",
                color=_COLORS[network],
            )
    chance = [100 / grid_size**2 for grid_size in grids]
    ax.plot(grids, chance, "--", color="gray", marker=".", label="chance")
    ax.set(
        xlabel="grid size (cells along each side)",
        ylabel="location accuracy (% of test images)",
        title=f"Predicting the cell of an image ({dataset})",
        xticks=grids,
        ylim=(0, 112),
    )
    ax.set_xticklabels([f"{grid_size}x{grid_size}" for grid_size in grids])
    ax.margins(x=0.12)
    ax.grid(alpha=0.3)
    ax.legend(loc="center right")


def _draw_paddings(ax, rows, paddings, dataset):
    """Bars: the accuracy of each network and grid size, side by side for each padding."""
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
            alpha=1 - 0.65 * grids.index(grid_size) / len(grids),
            label=f"{NAMES[network]} {grid_size}x{grid_size}",
        )
        ax.bar_label(bars, fmt="%.0f", fontsize=8)
    for grid_size in grids:
        label = "chance" if grid_size == grids[0] else None
        ax.axhline(100 / grid_size**2, color="gray", ls="--", lw=1, label=label)
    ax.set(
        xticks=range(len(paddings)),
        xticklabels=paddings,
        xlabel="padding of the convolutions",
        ylabel="location accuracy (%)",
        title=f"Which padding carries position ({dataset})",
        ylim=(0, 112),
    )
    ax.legend(loc="upper left", bbox_to_anchor=(1, 1))


def _series(row):
    return row["network"], row["grid_size"]


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
    ax.add_patch(Rectangle(corner, width, height, fill=False, color="limegreen", lw=3))
    correct = example["predicted"] == example["cell"]
    row, column = divmod(example["predicted"], grid_size)
    ax.plot(
        (column + 0.5) * width - 0.5,
        (row + 0.5) * height - 0.5,
        "x",
        color="limegreen" if correct else "red",
        ms=16,
        mew=4,
    )
    verdict, color = ("correct", "green") if correct else ("wrong", "red")
    ax.set_title(verdict, color=color, fontsize=10)
    ax.set(xticks=[], yticks=[])
