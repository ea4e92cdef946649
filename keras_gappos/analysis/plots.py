"""What the plots of results share: axes, colors, the legend, and the map of shifts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

# Okabe and Ito, Color universal design, 2008: told apart by the color-blind. The gray is darker.
COLORS = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "orange": "#E69F00",
    "gray": "#606060",
}
_TEXT = 14  # points, in a figure of 6.4 inches: readable at half the size


@contextlib.contextmanager
def drawing(
    ax: Axes | None, label: str | None = None, size: tuple[float, float] = (6.4, 4.8)
) -> Iterator[Axes]:
    """Axes to draw on. They get a legend if they are new, have one already, or there is a label.

    Args:
        ax: Matplotlib axes; `None` makes a figure of its own, which notebooks show.
        label: what the caller has asked to be named in the legend.
        size: width and height of that figure, in inches.
    """
    if ax is not None:
        yield ax
        if label is not None or ax.get_legend() is not None:
            _add_legend(ax)
        return
    import matplotlib.pyplot as plt

    # Outside of the context, which would undo what a notebook's backend sets at its first figure.
    figure = plt.figure(figsize=size, layout="constrained")
    with plt.rc_context({"font.size": _TEXT, "axes.titlesize": "medium"}):
        ax = figure.add_subplot()
        ax.tick_params(labelsize=_TEXT)
        yield ax
        _add_legend(ax)


def _add_legend(ax):
    if ax.get_legend_handles_labels()[0]:  # a heat map has none
        before = ax.get_legend()
        ax.legend(fontsize=before.get_texts()[0].get_fontsize() if before else None)


def draw_shift_map(
    ax: Axes, values: np.ndarray, rows: Sequence[int], columns: Sequence[int], **image: Any
) -> AxesImage:
    """Draws a value for each shift as a heat map, in which down is down.

    Args:
        ax: Matplotlib axes to draw on.
        values: array `(rows, columns)`; NaN, for a shift that was never drawn, is light gray.
        rows: the offsets down, in pixels, without gaps.
        columns: the offsets to the right.
        **image: further arguments of `Axes.imshow`.

    Returns:
        The image, for a color bar.
    """
    from matplotlib.ticker import MaxNLocator

    sides = (columns[0] - 0.5, columns[-1] + 0.5, rows[-1] + 0.5, rows[0] - 0.5)
    drawn = ax.imshow(values, extent=sides, **image)
    ax.set_facecolor("lightgray")
    for axis, name in ((ax.xaxis, "right"), (ax.yaxis, "down")):
        axis.set_label_text(f"shift {name} (pixels)")
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 4, 5, 10], integer=True))
    return drawn


def data_frame(*arguments: Any, **named: Any) -> Any:
    """A `pandas.DataFrame` of these arguments.

    Raises:
        ImportError: without pandas.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("`to_dataframe` needs pandas: pip install pandas") from error
    return pandas.DataFrame(*arguments, **named)
