"""The invariance experiment's figure: consistency against accuracy, and accuracy by shift."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from keras_gappos.experiments.invariance.methods import METHODS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def name_of(row: dict) -> str:
    """The name of a row's method."""
    return METHODS[row["method"]].title.format(depth=row["depth"])


def draw(rows: list[dict], dataset: str, max_shift: int) -> Figure:
    """Draws consistency against accuracy and, beside it, accuracy under each shift.

    Args:
        rows: the methods' rows, at least one.
        dataset: its name, for the title.
        max_shift: largest shift of the scores, in pixels.
    """
    from matplotlib.figure import Figure

    columns = min(3, len(rows))
    lines = math.ceil(len(rows) / columns)
    figure = Figure(
        figsize=(6.2 + 2.0 * columns, 1.6 + 2.3 * max(1.4, lines)), layout="constrained"
    )
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(5, 1.2 + 2.0 * columns))[0]
    _draw_points(left.subplots(), rows, dataset, max_shift)
    _draw_maps(right, right.subplots(lines, columns, squeeze=False), rows)
    return figure


def _draw_points(ax, rows, dataset, max_shift):
    """One labeled point for each method; the labels form a column at the right."""
    colors = {row["method"]: METHODS[row["method"]].color for row in rows}
    for row in rows:
        share = row["top1"] / 100
        ax.errorbar(
            row["top1"],
            row["consistency_exact"],
            xerr=100 * math.sqrt(share * (1 - share) / row["test_images"]),
            yerr=row["consistency_exact_stderr"],
            fmt="o",
            ms=8,
            capsize=3,
            color=colors[row["method"]],
        )
    ax.margins(x=0.12, y=0.15)
    low, high = ax.get_xlim()
    ax.set_xlim(low, high + 0.75 * (high - low))
    bottom, top = ax.get_ylim()
    by_height = sorted(rows, key=lambda row: row["consistency_exact"])
    heights = _spread([row["consistency_exact"] for row in by_height], 0.075 * (top - bottom))
    for row, height in zip(by_height, heights):
        ax.annotate(
            name_of(row),
            (row["top1"], row["consistency_exact"]),
            (high, height),
            color=colors[row["method"]],
            va="center",
            fontsize=11,
            fontweight="bold",
            arrowprops={"arrowstyle": "-", "color": colors[row["method"]], "lw": 0.7},
        )
    ax.set(
        xlabel="top-1 accuracy, unshifted (%); bars: standard errors",
        ylabel=f"same class for two shifts of up to {max_shift} pixels (%)",
    )
    ax.set_title(f"Shift consistency and accuracy ({dataset})", fontsize=12)
    ax.grid(alpha=0.3)


def _spread(values, gap):
    """Moves sorted values apart until neighbors are at least `gap` from each other."""
    groups = []  # [mean, count]: neighbors side by side around their mean
    for value in values:
        groups.append([value, 1])
        while (
            len(groups) > 1
            and groups[-1][0] - groups[-2][0] < gap * (groups[-1][1] + groups[-2][1]) / 2
        ):
            (one, ones), (other, others) = groups[-2:]
            groups[-2:] = [[(one * ones + other * others) / (ones + others), ones + others]]
    return [mean + gap * (i - (count - 1) / 2) for mean, count in groups for i in range(count)]


def _draw_maps(figure, all_axes, rows):
    maps = [np.asarray(row["accuracy_map"]) for row in rows]
    low, high = min(m.min() for m in maps), max(m.max() for m in maps)
    for ax in all_axes.flat[len(rows) :]:
        ax.set_axis_off()  # the color bar needs its place
    for index, (row, values) in enumerate(zip(rows, maps)):
        ax = all_axes.flat[index]
        shift = len(values) // 2
        edges = (-shift - 0.5, shift + 0.5)
        image = ax.imshow(values, vmin=low, vmax=high, extent=(*edges, *edges[::-1]))
        ax.set_title(f"{name_of(row)}\n{values.min():.1f} to {values.max():.1f} %", fontsize=11)
        ax.set(xticks=[-shift, 0, shift], yticks=[-shift, 0, shift])
        if index % all_axes.shape[1] == 0:
            ax.set_ylabel("shift down (px)")
        if index + all_axes.shape[1] >= len(rows):
            ax.set_xlabel("shift right (px)")
    figure.colorbar(image, ax=all_axes, shrink=0.8, label="accuracy (%)")
    figure.suptitle("Accuracy under each shift", fontsize=12)
