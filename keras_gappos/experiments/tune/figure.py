"""The figure of a hyperparameter search: what the trials reached, and with which settings."""

import math

import numpy as np

from keras_gappos.experiments.tune.axes import axis_of, setting_label
from keras_gappos.experiments.tune.ranking import meets_floor, trained_further

_CHOSEN = "tab:red"
_WIDTH = 6.5  # of the first panel, in inches
_LEVELS = 6  # numbers of epochs that are named
_FURTHER = "trained further as another trial"


def pareto_front(rows):
    """The trials than which no other is more accurate and more consistent, by accuracy.

    Args:
        rows: completed trials.
    """
    front = []
    key = ("val_accuracy", "val_shift_consistency")
    for row in sorted(rows, key=lambda row: [row[name] for name in key], reverse=True):
        if not front or row["val_shift_consistency"] > front[-1]["val_shift_consistency"]:
            front.append(row)
    return front[::-1]


def draw(ranked, names, objective, floor, dataset):
    """Draws consistency against accuracy; beside it, a line through the settings of each trial.

    Args:
        ranked: the completed trials, one at least, best first.
        names: the settings that differ between trials; without any there is no second panel.
        objective: what was searched for.
        floor: the accuracy in percent that was asked for, or `None`.
        dataset: its name, for the title.

    Returns:
        A matplotlib `Figure`.
    """
    from matplotlib.figure import Figure

    right_width = min(max(4.4, 1.35 * (len(names) + 1)), 11.0) if names else 0.0
    figure = Figure(figsize=(_WIDTH + right_width, 6.4), layout="constrained")
    if not names:
        _draw_points(figure, ranked, floor, dataset)
        return figure
    left, right = figure.subfigures(1, 2, width_ratios=(_WIDTH, right_width))
    _draw_points(left, ranked, floor, dataset)
    _draw_lines(right, ranked, names, objective, floor)
    return figure


def _draw_points(figure, ranked, floor, dataset):
    ax = figure.subplots()
    _draw_trials(ax, ranked)
    best = ranked[0]
    place = best["val_accuracy"], best["val_shift_consistency"]
    label = f"best: trial {best['trial']}"  # in the legend, where it covers no other point
    ax.plot(*place, "*", color=_CHOSEN, ms=19, mec="white", zorder=4, label=label)
    if floor is not None:
        label = f"accuracy floor: {floor:.2f} %"
        ax.axvline(floor, color="black", lw=1.3, ls="--", zorder=1, label=label)
    ax.margins(0.12)
    _draw_front(ax, pareto_front(ranked))
    ax.set_xlabel("validation accuracy, unshifted (%)", fontsize=12)
    ax.set_ylabel("shift consistency: same class for two shifts (%)", fontsize=12)
    trials = "one trial" if len(ranked) == 1 else f"{len(ranked)} trials"
    ax.set_title(f"What {trials} reached ({dataset})", fontsize=13)
    ax.grid(alpha=0.3)
    figure.legend(
        loc="outside lower center",
        ncols=3,
        fontsize=10,
        frameon=False,
        columnspacing=1.0,
        handletextpad=0.4,
        scatteryoffsets=[0.5],
    )


def _draw_trials(ax, ranked):
    """A point for each trial, the darker the more epochs; open ones were trained on."""
    from matplotlib import colormaps

    levels = sorted({row["epochs"] for row in ranked})
    colors = colormaps["Blues"](np.linspace(0.4, 1.0, len(levels)))
    if len(levels) == 1:
        colors = ["tab:blue"]
    every = math.ceil(len(levels) / _LEVELS)
    further = trained_further(ranked)
    for index, (epochs, color) in enumerate(zip(levels, colors)):
        found = [row for row in ranked if row["epochs"] == epochs]
        name = f"{epochs} epoch{'' if epochs == 1 else 's'}"
        ax.scatter(
            [row["val_accuracy"] for row in found],
            [row["val_shift_consistency"] for row in found],
            s=60,
            color=["white" if row["trial"] in further else color for row in found],
            edgecolors=[color],
            linewidths=1.5,
            zorder=3,
        )
        if index % every == 0 or epochs == levels[-1]:
            ax.scatter([], [], s=60, color=color, label=name)
    if further:
        label = f"open: {_FURTHER}"
        ax.scatter([], [], s=60, color="white", edgecolors="grey", linewidths=1.5, label=label)


def _draw_front(ax, front):
    """The border of what is reached; it runs on to the edges of the panel."""
    left, bottom = ax.get_xlim()[0], ax.get_ylim()[0]
    accuracies = [left, *(row["val_accuracy"] for row in front), front[-1]["val_accuracy"]]
    consistencies = [row["val_shift_consistency"] for row in front]
    consistencies = [consistencies[0], *consistencies, bottom]
    ax.step(
        accuracies, consistencies, where="pre", color="tab:orange", lw=1.8, label="Pareto front"
    )
    ax.set(xlim=(left, ax.get_xlim()[1]), ylim=(bottom, ax.get_ylim()[1]))


def _draw_lines(figure, ranked, names, objective, floor):
    """Parallel coordinates: an axis for each setting, and the scores that were searched for."""
    from matplotlib import colormaps

    keys = ["val_accuracy"] if objective == "val_accuracy" else ["val_shift_consistency"]
    if floor is not None:
        keys.insert(0, "val_accuracy")
    ax = figure.subplots()
    axes = [axis_of(name, [row["settings"].get(name) for row in ranked]) for name in names]
    axes += [axis_of(key, [row[key] for row in ranked]) for key in keys]
    heights = np.array([places for places, _ in axes]).T
    colors = colormaps["viridis_r"](heights[:, -1])
    further = trained_further(ranked)
    for rank in reversed(range(1, len(ranked))):
        thin = ranked[rank]["trial"] in further or not meets_floor(ranked[rank], floor)
        ax.plot(heights[rank], color=colors[rank], lw=0.9 if thin else 2.2, zorder=2 - thin)
    ax.plot(heights[0], color=_CHOSEN, lw=4, zorder=3)
    bar = max(0.07, 0.013 * len(axes))
    for place, (_, ticks) in enumerate(axes):
        _draw_axis(ax, place, ticks, bar=bar if place + 1 == len(axes) else 0.0)
    # All of two lines, so that the first ones align.
    labels = [*map(setting_label, names), *(f"{key.split('_')[-1]} (%)" for key in keys)]
    labels = [f"{label}\n" if " " not in label else label.replace(" ", "\n", 1) for label in labels]
    ax.set_xticks(range(len(axes)), labels, fontsize=11 if len(axes) < 10 else 9)
    ax.tick_params(length=0)
    ax.set(yticks=[], xlim=(-0.15, len(axes) - 0.45), ylim=(-0.06, 1.06))
    ax.spines[:].set_visible(False)
    color = keys[-1].split("_")[-1]
    ax.set_title(f"Settings of the trials, a line each, coloured by {color}", fontsize=13)
    _draw_line_legend(figure, ranked, floor, ncols=2 if len(axes) > 5 else 1)


def _draw_axis(ax, place, ticks, bar=0.0):
    """An axis with its ticks; with a bar of the lines' colours of some width."""
    from matplotlib import colormaps

    if bar:
        shades = colormaps["viridis_r"](np.linspace(1, 0, 100))[:, None]
        ax.imshow(shades, extent=(place, place + bar, 0, 1), aspect="auto", zorder=4)
    ax.plot([place, place], [0, 1], color="black", lw=1.2, zorder=4)
    for height, text in ticks:
        ax.plot([place - 0.03, place + 0.03], [height, height], color="black", lw=1.2, zorder=5)
        ax.annotate(
            text,
            (place + bar, height),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=10.5,
            zorder=6,
            bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.8, "lw": 0},
        )


def _draw_line_legend(figure, ranked, floor, ncols):
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=_CHOSEN, lw=4, label=f"best: trial {ranked[0]['trial']}")]
    reasons = []
    if not all(meets_floor(row, floor) for row in ranked):
        reasons.append("below the accuracy floor")
    if trained_further(ranked):
        reasons.append(_FURTHER)
    if reasons:
        label = f"thin: {', or '.join(reasons)}"
        handles.append(Line2D([], [], color="grey", lw=0.9, label=label))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=ncols, fontsize=11, frameon=False
    )
