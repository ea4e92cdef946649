"""How the experiments' figures look: text that can be read at half their size."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gappos.data.segmentation_sets import plain_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

SMALLEST = 11  # points: text in a figure is at least of this size
_LETTER, _HANDLE = 0.095, 0.65  # width in inches, in a legend with text of that size
_STYLE: dict[Any, Any] = {
    "font.size": SMALLEST + 1,
    "axes.titlesize": SMALLEST + 2,
    "figure.titlesize": SMALLEST + 4,
    "legend.fontsize": SMALLEST,
    "legend.frameon": False,
}


def readable(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Makes a function that draws a figure use these sizes of text."""

    @functools.wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Figure:
        from matplotlib import rc_context

        with rc_context(_STYLE):
            figure = draw(*args, **kwargs)
        for ax in figure.get_axes():  # whose tick labels are made later
            ax.tick_params(labelsize=SMALLEST)
        return figure

    return drawn


def training_line(settings: dict, rows: Sequence[dict]) -> str:
    """What was trained, in a line under a figure's title.

    Args:
        settings: those of `results.json`.
        rows: of results; what they say of their training counts.
    """
    said, epochs = settings | rows[0], sorted({row["epochs"] for row in rows})
    trained = f"{epochs[0]} to {epochs[-1]}" if epochs[1:] else f"{epochs[0]}"
    return (
        f"ResNet-{said['depth']}, width {said['width']}, "
        + (f"{trained} epochs on " if epochs[-1] else "")  # none with given weights
        + f"{said['train_images']:,} training images of {plain_name(said['dataset'])}"
    )


def add_legend(figure: Figure | SubFigure, *handles: Any, **more: Any) -> None:
    """Puts one legend under a figure, in as many columns as it has room for.

    Args:
        figure: the figure, or a part of one.
        *handles: what the legend names; none: all that has a label in the axes, each name once.
        **more: further arguments of `Figure.legend`.
    """
    found = {handle.get_label(): handle for handle in handles}
    for ax in () if handles else figure.get_axes():
        for handle, label in zip(*ax.get_legend_handles_labels()):
            found.setdefault(label, handle)
    width = figure.bbox.width / figure.figure.dpi
    columns = _columns([_LETTER * len(label) + _HANDLE for label in found], width)
    place = {"loc": "outside lower center", "ncols": columns}
    figure.legend(list(found.values()), list(found), **place, **more)


def _columns(widths, room):
    """The largest number of columns for entries of these widths, filled from top to bottom."""
    for count in range(len(widths), 1, -1):
        if sum(column.max() for column in np.array_split(widths, count)) <= room:
            return count
    return 1
