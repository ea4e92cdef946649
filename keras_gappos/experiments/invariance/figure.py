"""The invariance experiment's figure: consistency against accuracy, and accuracy by shift."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from keras_gappos.analysis.plots import COLORS, draw_shift_map
from keras_gappos.experiments.engine.pictures import (
    SMALLEST,
    add_legend,
    readable,
    training_line,
)
from keras_gappos.experiments.invariance.methods import METHODS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLORS = {  # by downsampling
    "stride": COLORS["blue"],
    "blur": COLORS["vermilion"],
    "polyphase": COLORS["green"],
    "learned_polyphase": COLORS["purple"],
}
_MARKERS = ("o", "o", "*")  # by views: 0 is hollow
_LABEL = 18 / 72  # height of a method's label, in inches


def name_of(row: dict) -> str:
    """The name of a row's method."""
    return METHODS[row["method"]].title.format(depth=row["depth"])


@readable
def draw(
    rows: list[dict], settings: dict, papers: Mapping[str, tuple[float, float]] | None = None
) -> Figure:
    """Draws consistency against accuracy and, beside it, accuracy under each shift.

    Args:
        rows: the methods' rows, at least one.
        settings: those of `results.json`.
        papers: the paper's top-1 and consistency in percent, for methods where they compare.
    """
    from matplotlib.figure import Figure

    columns = min(3, len(rows))
    lines = math.ceil(len(rows) / columns)
    widths = (6.4, 1.4 + 2.0 * columns)
    figure = Figure(figsize=(sum(widths), 2.0 + 2.4 * max(1.4, lines)), layout="constrained")
    figure.suptitle(f"Accuracy and shift consistency\n{training_line(settings, rows)}")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=widths)[0]
    _draw_points(left, rows, settings["max_shift"], papers or {})
    _draw_maps(right, right.subplots(lines, columns, squeeze=False), rows)
    return figure


def _draw_points(figure, rows, max_shift, papers):
    """One labeled point for each method; the labels form a column at the right."""
    from matplotlib.lines import Line2D

    ax, others = figure.subplots(), {}
    for row in rows:
        method, share = METHODS[row["method"]], row["top1"] / 100
        color = _COLORS[method.downsampling]
        ax.errorbar(
            row["top1"],
            row["consistency_exact"],
            xerr=100 * math.sqrt(share * (1 - share) / row["test_images"]),
            yerr=row["consistency_exact_stderr"],
            marker=_MARKERS[method.views],
            mfc=color if method.views else "white",
            ms=13 if method.views == 2 else 8,
            capsize=3,
            color=color,
        )
        if "consistency_circular" in row:
            others["this run, circular shifts"] = style = {"marker": "x", "ms": 9, "mew": 2}
            ax.plot(row["top1"], row["consistency_circular"], color=color, **style)
        if row["method"] in papers:
            others["the paper"] = style = {"marker": "+", "ms": 12, "mew": 2}
            ours, theirs = (row["top1"], row["consistency_exact"]), papers[row["method"]]
            ax.plot(*zip(ours, theirs), color=color, ls=":", lw=1)
            ax.plot(*theirs, color=color, **style)
    ax.margins(x=0.12, y=0.15)
    bottom, top = ax.get_ylim()
    gap = _LABEL * (top - bottom) / (figure.figure.get_figheight() - 2.2)
    by_height = sorted(rows, key=lambda row: row["consistency_exact"])
    heights = _spread([row["consistency_exact"] for row in by_height], gap)
    for row, height in zip(by_height, heights):
        color = _COLORS[METHODS[row["method"]].downsampling]
        ax.annotate(
            name_of(row),
            (row["top1"], row["consistency_exact"]),
            (1.03, height),
            textcoords=ax.get_yaxis_transform(),
            color=color,
            va="center",
            fontweight="bold",
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.7},
        )
    ax.set(
        xlabel="top-1 accuracy, unshifted (%)",
        ylabel=f"same class for two shifts\nof up to {max_shift} pixels (%)",
        title="consistency (bars: standard errors)",
    )
    ax.grid(alpha=0.3)
    marks = {"this run": {"marker": "o", "ms": 8}, **others}
    if others:
        add_legend(
            figure, *(Line2D([], [], ls="", color="black", label=k, **v) for k, v in marks.items())
        )


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
    maps = [np.asarray(row["accuracy_map"], float) for row in rows]
    limits = {"vmin": min(map(np.nanmin, maps)), "vmax": max(map(np.nanmax, maps))}
    for ax in all_axes.flat[len(rows) :]:
        ax.set_axis_off()  # the color bar needs its place
    for index, (row, values, ax) in enumerate(zip(rows, maps, all_axes.flat)):
        shift = len(values) // 2
        offsets = range(-shift, shift + 1)
        image = draw_shift_map(ax, values, offsets, offsets, **limits)
        ax.set(xticks=[-shift, 0, shift], yticks=[-shift, 0, shift])
        span = f"{np.nanmin(values):.1f} to {np.nanmax(values):.1f} %"
        ax.set_title(f"{name_of(row)}\n{span}", fontsize=SMALLEST)
        if index % all_axes.shape[1]:
            ax.set_ylabel("")
        if index + all_axes.shape[1] < len(rows):
            ax.set_xlabel("")
    figure.colorbar(image, ax=all_axes, shrink=0.8, label="top-1 accuracy (%)")
    figure.suptitle("accuracy under each shift")
