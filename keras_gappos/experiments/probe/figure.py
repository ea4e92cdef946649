"""The figure of position channels and class channels, made from rows and rankings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_gappos.analysis import AblationSweep, ChannelRanking
from keras_gappos.analysis.channels.sweep import BASELINE_STYLES
from keras_gappos.analysis.plots import COLORS
from keras_gappos.experiments.engine.pictures import add_legend, readable, training_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = {  # of each ranking's curve
    "position": {
        "label": "position channels by flips",
        "color": COLORS["vermilion"],
        "marker": "o",
    },
    "cell": {"label": "position channels by cells", "color": COLORS["purple"], "marker": "D"},
    "class": {"label": "class channels", "color": COLORS["blue"], "marker": "v"},
    **BASELINE_STYLES,
}
NAMES = {
    "gapnet": "GAPNet (heads: convolution, then pooling)",
    "resnet": "ResNet (heads: pooling, then a dense layer)",
    "permutenet": "PermuteNet (heads: pooling, the channels shuffled, a dense layer)",
}
_PANELS = {
    "location": ("Where is the image?", "location accuracy (% of test canvases)"),
    "class": ("What is it?", "class accuracy (% of test canvases)"),
}


@readable
def draw(
    parts: Sequence[tuple[dict, list[dict], dict[str, ChannelRanking]]], settings: dict
) -> Figure:
    """Draws both accuracies by number of channels off, and what each channel encodes.

    Args:
        parts: for each network its row, those of its sweep, and its rankings by name.
        settings: those of `results.json`.
    """
    from matplotlib.figure import Figure

    grid = "{0}x{0}".format(settings["grid_size"])
    figure = Figure(figsize=(13, 1.6 + 4.4 * len(parts)), layout="constrained")
    figure.suptitle(
        f"A backbone trained for the class, images on random cells of a {grid} grid: which "
        f"channels know where, and what?\n{training_line(settings, [row for row, *_ in parts])}"
    )
    strips = figure.subfigures(len(parts), 1, squeeze=False)[:, 0]
    dots: list = []  # the axes of what each channel encodes
    for (network, rows, rankings), strip in zip(parts, strips):
        axes = strip.subplots(1, 3)
        for ax, task in zip(axes, _PANELS):
            _draw_curves(ax, network, [row for row in rows if row["task"] == task], task)
        for share in (axes[2].sharex, axes[2].sharey) if dots else ():
            share(dots[0])
        dots.append(axes[2])
        _draw_channels(axes[2], rankings)
        strip.suptitle(NAMES[network["network"]])
    dots[0].set(xlim=(0, None), ylim=(0, None))  # of all, once they have grown to what is in each
    add_legend(figure)
    return figure


def _draw_curves(ax, network, rows, task):
    """Accuracy by number of channels off, a curve for each ranking."""
    title, label = _PANELS[task]
    AblationSweep(rows).plot(ax, styles=STYLES)
    ax.axhline(rows[0]["chance"], color="black", lw=1.5, ls=":", label="chance")
    ax.set(xlabel=f"channels off, of {network['channels']}", ylabel=label, title=title)
    ax.set_ylim(0, 102)


def _draw_channels(ax, rankings):
    """A dot for each channel: how much of its variance the cell and the class explain."""
    cell, label = (100 * np.array(rankings[name].scores) for name in ("cell", "class"))
    ax.plot(cell, label, "o", color=COLORS["green"], ms=5, alpha=0.6, label="a channel")
    ax.set(
        xlabel="explained by the cell (% of variance)",
        ylabel="explained by the class (% of variance)",
        title="What each channel encodes",
    )
    ax.grid(alpha=0.3)
