"""The figure of a search: what the trials reached, and how it depends on each setting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from keras_gappos.analysis.plots import COLORS
from keras_gappos.experiments.engine.pictures import add_legend, readable
from keras_gappos.tuning.augshift import AUGSHIFT_SPACE
from keras_gappos.tuning.objective import is_collapsed
from keras_gappos.tuning.space import Range

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCORES = {"val_accuracy": "accuracy", "val_shift_consistency": "shift consistency"}
_STYLES = {
    "val_accuracy": {"color": COLORS["blue"], "marker": "o"},
    "val_shift_consistency": {"color": COLORS["orange"], "marker": "^"},
}
_FLOOR = {"color": "black", "lw": 1.5, "ls": "--", "zorder": 1}
_FADED = 0.35  # opacity of trials below the accuracy floor
_COLUMNS = 4  # of panels
_PANEL = 2.9  # side of a panel in inches
_DOT = 36  # area in points
_CHARACTERS = 20  # of a panel's tick labels that fit side by side


def setting_label(name: str) -> str:
    """A setting's name in tables and figures, with its unit."""
    return {"max_shift": "max shift (px)"}.get(name, name.replace("_", " "))


def setting_text(value: object) -> str:
    """A setting's value, short."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def pareto_front(rows: list[dict]) -> list[dict]:
    """The completed trials that no other trial dominates, by increasing accuracy.

    Networks that have collapsed to one class are left out.
    """
    front: list[dict] = []
    rows = [row for row in rows if not is_collapsed(row)]
    for row in sorted(rows, key=lambda row: [row[name] for name in _SCORES], reverse=True):
        if not front or row["val_shift_consistency"] > front[-1]["val_shift_consistency"]:
            front.append(row)
    return front[::-1]


def trained_further(ranked: list[dict]) -> set[int]:
    """Numbers of the trials whose training another completed trial continued."""
    return {row["continues"] for row in ranked} - {None}


@readable
def draw(
    ranked: list[dict], names: list[str], floor: float | None, faded: set[int], settings: dict
) -> Figure:
    """Draws consistency against accuracy, and both against each setting.

    Args:
        ranked: the completed trials, at least one, best first.
        names: the settings that differ between trials, a panel each.
        floor: the accuracy in percent that the best trial must have, or `None`.
        faded: numbers of the trials below it.
        settings: the search's, of `results.json`.
    """
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, 1 + len(names))
    lines = math.ceil((1 + len(names)) / columns)
    size = (max(columns, 3) * _PANEL, lines * _PANEL + 1.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    opacity = [_FADED if row["trial"] in faded else 1.0 for row in ranked]
    _draw_front(axes[0], ranked, floor, opacity)
    for name, ax in zip(names, axes[1:]):
        ax.sharey(axes[1])
        _draw_setting(ax, name, ranked, floor, opacity)
        if ax is not axes[1] and ax.get_subplotspec().colspan.start:
            ax.tick_params(labelleft=False)
        else:
            ax.set_ylabel("score (%)")
    for ax in axes[1 + len(names) :]:
        ax.set_visible(False)
    figure.suptitle(
        f"AugShift's settings on {settings['dataset']}: {_count(ranked)} of at most "
        f"{settings['epochs']} epochs,\nscored on {settings['validation_images']:,} held-out images"
    )
    _draw_legend(figure, ranked, floor, faded)
    return figure


def _count(ranked):
    return "1 trial" if len(ranked) == 1 else f"{len(ranked)} trials"


def _draw_front(ax, ranked, floor, opacity):
    front = pareto_front(ranked)
    ax.plot(*_scores(front), color="gray", lw=1.5, zorder=1)
    color = ["white" if row["trial"] in trained_further(ranked) else "black" for row in ranked]
    ax.scatter(*_scores(ranked), s=_DOT, c=color, edgecolors="black", alpha=opacity, marker="s")
    ax.plot(*_scores(ranked[:1]), "*", color=COLORS["vermilion"], ms=16, mec="black")
    if floor is not None:
        ax.axvline(floor, **_FLOOR)
    ax.set(xlabel="accuracy (%)", ylabel="shift consistency (%)")
    ax.grid(alpha=0.3)


def _draw_setting(ax, name, ranked, floor, opacity):
    """Accuracy and consistency of all trials against one setting."""
    trials = [row["trial"] for row in ranked]
    places = _places(ax, name, [row["settings"].get(name) for row in ranked], trials)
    further = trained_further(ranked)
    for score, style in _STYLES.items():
        heights, color = [row[score] for row in ranked], style["color"]
        fill = ["white" if row["trial"] in further else color for row in ranked]
        look = {"s": _DOT, "marker": style["marker"], "edgecolors": color}
        ax.scatter(places, heights, c=fill, alpha=opacity, **look)
        ax.plot(places[0], heights[0], "*", color=color, ms=16, mec="black", zorder=3)
    if floor is not None:
        ax.axhline(floor, **_FLOOR)
    ax.set_xlabel(setting_label(name))
    ax.grid(alpha=0.3)


def _places(ax, name, values, trials):
    """Where the values are on the x axis, which is logarithmic where the search space is."""
    from matplotlib.ticker import LogLocator, NullFormatter

    space = AUGSHIFT_SPACE.get(name)
    if isinstance(space, Range) and None not in values:
        if space.is_integer:
            ax.xaxis.get_major_locator().set_params(integer=True)
        elif min(values) <= 0:  # zero has no place on a logarithmic axis
            ax.set_xscale("symlog", linthresh=space.low)
        else:
            ax.set_xscale("log")
            wide = max(values) >= 10 * min(values)
            ax.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
            ax.xaxis.set_minor_formatter(NullFormatter())
        if not space.is_integer:
            ax.xaxis.set_major_formatter("{x:g}")
        return values
    choices = sorted(set(values), key=lambda value: (isinstance(value, str), value is None, value))
    texts = [setting_text(choice) for choice in choices]
    upright = sum(map(len, texts)) <= _CHARACTERS
    ax.set_xticks(range(len(choices)), texts, rotation=0 if upright else 25)
    ax.set_xlim(-0.5, len(choices) - 0.5)
    # Trials of the same choice side by side, in an order that means nothing.
    spread = [(0.618 * trial % 1 - 0.5) * 0.5 for trial in trials]
    return [choices.index(value) + beside for value, beside in zip(values, spread)]


def _scores(rows):
    return [[row[name] for row in rows] for name in _SCORES]


def _draw_legend(figure, ranked, floor, faded):
    from matplotlib.lines import Line2D

    def marker(label, style="s", **properties):
        properties = {"color": "black", "ms": 7, **properties}
        return Line2D([], [], ls="", marker=style, label=label, **properties)

    handles = [marker("a trial")]
    handles += [
        marker(_SCORES[name], style["marker"], color=style["color"])
        for name, style in _STYLES.items()
    ]
    best = {"color": COLORS["vermilion"], "mec": "black", "ms": 14}
    handles.append(marker(f"best: trial {ranked[0]['trial']}", "*", **best))
    handles.append(Line2D([], [], color="gray", label="Pareto front"))
    if floor is not None:
        handles.append(Line2D([], [], label=f"accuracy floor: {floor:.2f} %", **_FLOOR))
    if faded:
        handles.append(marker("below the floor", alpha=_FADED))
    if trained_further(ranked):
        handles.append(marker("continued by another trial", markerfacecolor="white"))
    add_legend(figure, *handles)
