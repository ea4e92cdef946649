"""The figure of a search: what the trials reached, and how it depends on each setting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from keras_gappos.tuning.augshift import AUGSHIFT_SPACE
from keras_gappos.tuning.objective import is_collapsed
from keras_gappos.tuning.space import Range

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCORES = {"val_accuracy": "tab:blue", "val_shift_consistency": "tab:orange"}
_LABELS = {"val_accuracy": "accuracy", "val_shift_consistency": "shift consistency"}
_CHOSEN = "tab:red"
_FADED = 0.3  # opacity of trials below the accuracy floor
_COLUMNS = 4  # of panels
_PANEL = 2.7  # side of a panel in inches


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


def draw(
    ranked: list[dict], names: list[str], floor: float | None, faded: set[int], dataset: str
) -> Figure:
    """Draws consistency against accuracy, and both against each setting.

    Args:
        ranked: the completed trials, at least one, best first.
        names: the settings that differ between trials, a panel each.
        floor: the accuracy in percent that the best trial must have, or `None`.
        faded: numbers of the trials below it.
        dataset: its name, for the title.
    """
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, 1 + len(names))
    lines = math.ceil((1 + len(names)) / columns)
    size = (max(columns, 2) * _PANEL, lines * _PANEL + 1)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).flat
    opacity = [_FADED if row["trial"] in faded else 1.0 for row in ranked]
    _draw_front(axes[0], ranked, floor, opacity)
    for name, ax in zip(names, axes[1:]):
        _draw_setting(ax, name, ranked, floor, opacity)
    for ax in axes[1 + len(names) :]:
        ax.set_visible(False)
    count = "1 trial" if len(ranked) == 1 else f"{len(ranked)} trials"
    figure.suptitle(f"{count} on {dataset}, scored on held-out images")
    _draw_legend(figure, ranked, floor, faded)
    return figure


def _draw_front(ax, ranked, floor, opacity):
    front = pareto_front(ranked)
    ax.plot(*_scores(front), color="gray", lw=1, zorder=1)
    color = ["white" if row["trial"] in trained_further(ranked) else "black" for row in ranked]
    ax.scatter(*_scores(ranked), s=18, c=color, edgecolors="black", alpha=opacity)
    ax.plot(*_scores(ranked[:1]), "*", color=_CHOSEN, ms=13, mec="white")
    if floor is not None:
        ax.axvline(floor, color="black", lw=1, ls="--", zorder=1)
    ax.set(xlabel="accuracy (%)", ylabel="shift consistency (%)")
    ax.grid(alpha=0.3)


def _draw_setting(ax, name, ranked, floor, opacity):
    """Accuracy and consistency of all trials against one setting."""
    places = _places(ax, name, [row["settings"].get(name) for row in ranked])
    further = trained_further(ranked)
    for score, color in _SCORES.items():
        heights = [row[score] for row in ranked]
        fill = ["white" if row["trial"] in further else color for row in ranked]
        ax.scatter(places, heights, s=18, c=fill, edgecolors=color, alpha=opacity)
        ax.plot(places[0], heights[0], "*", color=color, ms=13, mec=_CHOSEN, zorder=3)
    if floor is not None:
        ax.axhline(floor, color="black", lw=1, ls="--", zorder=1)
    ax.set_xlabel(setting_label(name))
    ax.set_ylabel("%")
    ax.grid(alpha=0.3)


def _places(ax, name, values):
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
            ax.xaxis.set_major_formatter("{x:g}")
            ax.xaxis.set_minor_formatter(NullFormatter())
        return values
    choices = sorted(set(values), key=lambda value: (isinstance(value, str), value is None, value))
    ax.set_xticks(range(len(choices)), [setting_text(choice) for choice in choices], fontsize=8)
    ax.set_xlim(-0.5, len(choices) - 0.5)
    # Trials of the same choice side by side.
    spread = [(rank / len(values) - 0.5) * 0.4 for rank in range(len(values))]
    return [choices.index(value) + beside for value, beside in zip(values, spread)]


def _scores(rows):
    return [[row[name] for row in rows] for name in _SCORES]


def _draw_legend(figure, ranked, floor, faded):
    from matplotlib.lines import Line2D

    def marker(label, style="o", **properties):
        return Line2D([], [], ls="", marker=style, label=label, **properties)

    handles = [marker(_LABELS[name], color=color) for name, color in _SCORES.items()]
    handles.append(marker(f"best: trial {ranked[0]['trial']}", "*", color=_CHOSEN, ms=12))
    handles.append(Line2D([], [], color="gray", label="Pareto front"))
    if floor is not None:
        label = f"accuracy floor: {floor:.2f} %"
        handles.append(Line2D([], [], color="black", ls="--", label=label))
    if faded:
        handles.append(marker("below the floor", color="black", alpha=_FADED))
    if trained_further(ranked):
        label = "continued by another trial"
        handles.append(marker(label, color="black", markerfacecolor="white"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
