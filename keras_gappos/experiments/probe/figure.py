"""The figure of position channels and class channels, made from rows and rankings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_gappos.analysis import ChannelRanking
from keras_gappos.experiments.engine.effects import draw_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# ranking -> name, color, style
STYLES = {
    "position": ("position channels by flips", "tab:red", "o-"),
    "cell": ("position channels by cells", "tab:purple", "D-"),
    "class": ("class channels", "tab:blue", "v-"),
    "random": ("random channels", "tab:gray", "s--"),
    "most_active": ("most active channels", "tab:orange", "^--"),
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


def draw(
    parts: Sequence[tuple[dict, list[dict], dict[str, ChannelRanking]]],
    dataset: str,
    grid_size: int,
) -> Figure:
    """Draws both accuracies by number of channels off, and what each channel encodes.

    Args:
        parts: for each network its row, those of its sweep, and its rankings by name.
        dataset: the data set's name.
        grid_size: cells along each side of the canvas.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14.5, 0.6 + 4.9 * len(parts)), layout="constrained")
    figure.suptitle(
        f"Channels of a backbone trained for the class, switched off ({dataset}, images on "
        f"random cells of a {grid_size}x{grid_size} grid)",
        fontsize=14,
    )
    strips = figure.subfigures(len(parts), 1, squeeze=False)[:, 0]
    for (network, rows, rankings), strip in zip(parts, strips):
        axes = strip.subplots(1, 3)
        for ax, task in zip(axes, _PANELS):
            _draw_curves(ax, network, [row for row in rows if row["task"] == task], task)
        _draw_channels(axes[2], rankings)
        strip.suptitle(NAMES[network["network"]], fontsize=13)
        handles, labels = axes[0].get_legend_handles_labels()
        strip.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=10)
    return figure


def _draw_curves(ax, network, rows, task):
    """Accuracy by number of channels off, a curve for each ranking."""
    title, label = _PANELS[task]
    draw_curves(ax, rows, "accuracy", STYLES)
    ax.axhline(rows[0]["chance"], color="black", lw=1, ls=":", label="chance")
    ax.set(xlabel=f"channels off, of {network['channels']}", ylabel=label, title=title)
    ax.set_ylim(0, 102)


def _draw_channels(ax, rankings):
    """A dot for each channel: how much of its variance the cell and the class explain."""
    cell, label = (100 * np.array(rankings[name].scores) for name in ("cell", "class"))
    ax.plot(cell, label, "o", color="tab:green", ms=5, alpha=0.6)
    ax.set(
        xlabel="explained by the cell (% of the variance)",
        ylabel="explained by the class (% of the variance)",
        title="What each channel encodes (one dot each)",
        xlim=(0, None),
        ylim=(0, None),
    )
    ax.grid(alpha=0.3)
