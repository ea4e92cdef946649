"""The rows of an ablation sweep, as a list that draws itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gappos.analysis.plots import COLORS, data_frame, drawing
from keras_gappos.arguments import one_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCORES = {"miou": "mIoU (%)", "top1": "top-1 accuracy (%)", "accuracy": "accuracy (%)"}
# How baselines look, with dashed lines, and how rankings do, one after another.
BASELINE_STYLES = {
    "random": {"label": "random channels", "color": COLORS["gray"], "marker": "s", "ls": "--"},
    "most_active": {
        "label": "most active channels",
        "color": COLORS["orange"],
        "marker": "^",
        "ls": "--",
    },
}
_NAMES = ("vermilion", "blue", "green", "purple", "sky")
_STYLES = [{"color": COLORS[name], "marker": marker} for name, marker in zip(_NAMES, "ov<D>")]


class AblationSweep(list[dict]):
    """The rows of an `ablation_sweep`: a list of dictionaries that can be plotted.

    Args:
        rows: dictionaries, each with `ranking`, `count`, `region` and scores in percent.

    Examples:
        >>> sweep = AblationSweep(
        ...     {"ranking": "overall", "count": count, "region": "whole", "miou": 80.0 - count}
        ...     for count in (0, 8)
        ... )
        >>> [row["miou"] for row in sweep if row["count"] == 8]
        [72.0]
        >>> sweep.plot().get_ylabel()
        'mIoU (%)'
    """

    def __init__(self, rows: Iterable[dict] = ()) -> None:
        super().__init__(rows)

    def to_dataframe(self) -> Any:
        """A `pandas.DataFrame` of the rows, with a column for each entry.

        Raises:
            ImportError: without pandas.

        Examples:
            >>> sweep.to_dataframe().pivot_table("miou", "count", "ranking")  # doctest: +SKIP
        """
        return data_frame(list(self))

    def plot(
        self,
        ax: Axes | None = None,
        label: str | None = None,
        *,
        score: str | None = None,
        region: str = "whole",
        styles: Mapping[str, Mapping[str, Any]] | None = None,
        **line: Any,
    ) -> Axes:
        """Draws a score by number of channels off, a curve for each ranking.

        Random channels have a band from the lowest to the highest of their draws.

        Args:
            ax: Matplotlib axes to draw on; `None` makes a figure.
            label: name of the network, put before those of the rankings in the legend.
            score: `"miou"`, `"top1"` or `"accuracy"`; `None` is the first of them that there is.
            region: part of the image, one of those in the rows.
            styles: for each ranking arguments of `Axes.plot`, as in `{"left": {"color": "red"}}`.
            **line: the same for all curves, such as `ls=":"`.

        Returns:
            The axes; `.figure.savefig(path)` saves them.

        Raises:
            ValueError: for a score or a region that the rows do not have.

        Examples:
            >>> sweep.plot(region="left").figure.savefig("left.png", dpi=150)  # doctest: +SKIP
        """
        # Rows of one region may leave it out.
        rows = [row for row in self if row.get("region", region) == region]
        if not rows:
            one_of("region", region, tuple(dict.fromkeys(row["region"] for row in self)))
        found = tuple(name for name in SCORES if name in rows[0])
        score = one_of("score", found[0] if score is None else score, found)
        with drawing(ax, label) as ax:
            for ranking, style in _styles(rows, styles or {}).items():
                name = f"{label}: {style['label']}" if label else style["label"]
                ranked = sorted((r for r in rows if r["ranking"] == ranking), key=_count)
                _draw_curve(ax, ranked, score, {**style, **line, "label": name})
            ax.set(xlabel="channels off", ylabel=SCORES[score])
            ax.grid(alpha=0.3)
        return ax


def _styles(rows, given):
    """The style of each ranking, in the order of the given ones, then that of the rows."""
    found = dict.fromkeys(row["ranking"] for row in rows)
    order = [name for name in given if name in found]
    order += [name for name in found if name not in given]
    following = itertools.cycle(_STYLES)
    styles = {}
    for name in order:
        own = BASELINE_STYLES.get(name) or {"label": name, **next(following)}
        styles[name] = {**own, **given.get(name, {})}
    return styles


def _count(row):
    return row["count"]


def _draw_curve(ax, rows, score, style):
    counts = [row["count"] for row in rows]
    values = np.array([row[score] for row in rows], float)  # NaN for None
    (curve,) = ax.plot(counts, values, **{"lw": 2, "ms": 6, **style})
    if all(f"{score}_draws" in row for row in rows):
        draws = np.array([row[f"{score}_draws"] for row in rows], float)
        low, high = np.fmin.reduce(draws, axis=1), np.fmax.reduce(draws, axis=1)
        label = f"range of {draws.shape[1]} random draws"
        color = curve.get_color()
        ax.fill_between(counts, low, high, color=color, alpha=0.2, lw=0, label=label)
