"""The invariance experiment's tables and figure, made from its rows."""

import io
import math

import numpy as np
from rich import box
from rich.console import Console, Group
from rich.table import Table

from keras_gappos.files import replacing

# Islam et al., ICCV 2021, table of AugShift: ResNet-18; (top-1 %, consistency %).
PAPER = {
    "cifar10": {"resnet18": (93.1, 90.8), "blurpool": (92.5, 92.5), "augshift": (92.1, 94.8)},
    "cifar100": {"resnet18": (72.6, 70.1), "blurpool": (72.4, 78.2), "augshift": (72.6, 85.6)},
}
_NAMES = {
    "resnet18": "ResNet-{depth}",
    "blurpool": "BlurPool",
    "aps": "APS",
    "shift": "One random shift",
    "augshift": "AugShift",
    "augshift_blurpool": "AugShift + BlurPool",
    "augshift_aps": "AugShift + APS",
}
_COLORS = {
    "resnet18": "tab:grey",
    "blurpool": "tab:orange",
    "aps": "tab:green",
    "shift": "tab:purple",
    "augshift": "tab:blue",
    "augshift_blurpool": "tab:red",
    "augshift_aps": "tab:olive",
}


def make_table(rows):
    """The rows for a terminal: the methods, and the consistency weights on trial if there are any.

    Args:
        rows: the experiment's rows.

    Returns:
        What a `rich.console.Console` prints, within 80 columns.
    """
    trials = _trials(rows)
    return Group(_method_table(rows), *([_trial_table(trials)] if trials else []))


def write_report(folder, content):
    """Writes `table.md` and, once a method is finished, `figure.png` into `folder`.

    Args:
        folder: a `pathlib.Path`.
        content: what is in `results.json`.
    """
    with replacing(folder / "table.md") as temporary:
        temporary.write_text(_markdown(content))
    if _finals(content["rows"]):
        with replacing(folder / "figure.png") as temporary:
            _draw(content).savefig(temporary, dpi=150)


def _finals(rows):
    """The methods' rows, in the order of the tables."""
    rows = [row for row in rows if row["split"] == "test"]
    return sorted(rows, key=lambda row: list(_NAMES).index(row["method"]))


def _trials(rows):
    """The rows of the consistency weights on trial, by weight."""
    rows = [row for row in rows if row["split"] == "validation"]
    return sorted(rows, key=lambda row: row["consistency_weight"])


def _name(row):
    return _NAMES[row["method"]].format(depth=row["depth"])


def _with_error(row, name):
    error = row[f"{name}_stderr"]
    return f"{row[name]:.2f}" + ("" if error is None else f"±{error:.2f}")


def _table(first, columns, style):
    """An empty table; on a terminal, where 80 columns are all there is, with shorter headings."""
    if style is not box.MARKDOWN:
        columns = [_SHORTER.get(column, column) for column in columns]
    table = Table(box=style, collapse_padding=True, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table


_SCORES = ("top-1 %", "random consistency %", "exact consistency %", "worst case %")
_PAPERS = ("paper top-1 %", "paper consistency %")
_SHORTER = {
    "top-1 %": "top-1\n%",
    "random consistency %": "consist.\nrandom %",
    "exact consistency %": "consist.\nexact %",
    "worst case %": "worst\ncase %",
    "paper top-1 %": "paper\ntop-1",
    "paper consistency %": "paper\ncons.",
}


def _scores(row):
    return [
        f"{row['top1']:.2f}",
        _with_error(row, "consistency_random"),
        _with_error(row, "consistency_exact"),
        f"{row['worst_case']:.2f}",
    ]


def _method_table(rows, style=box.SIMPLE):
    table = _table("network", (*_SCORES, *_PAPERS), style)
    for row in _finals(rows):
        paper = PAPER.get(row["dataset"], {}).get(row["method"], ())
        paper = [f"{figure:.1f}" for figure in paper] or ["", ""]
        table.add_row(_name(row), *_scores(row), *paper)
    return table


def _trial_table(trials, style=box.SIMPLE):
    table = _table("weight on trial", _SCORES, style)
    for row in trials:
        table.add_row(f"{row['consistency_weight']:g}", *_scores(row))
    return table


def _markdown(content):
    rows, settings, environment = content["rows"], content["settings"], content["environment"]
    parts = [f"# Accuracy and shift consistency on {settings['dataset']}"]
    if finals := _finals(rows):
        parts += [_plain(_method_table(rows, box.MARKDOWN)), _explanation(finals[0], settings)]
    if trials := _trials(rows):
        parts += ["## The consistency weight", _plain(_trial_table(trials, box.MARKDOWN))]
    parts += _weight_sentence(rows, settings)
    parts.append(
        f"Made by `{content['command']}` with {environment['backend']} on {environment['device']}."
    )
    return "\n\n".join(parts) + "\n"


def _plain(table):
    text = io.StringIO()
    Console(file=text, width=200).print(table)
    return "\n".join(line.strip() for line in text.getvalue().splitlines() if line.strip())


def _explanation(row, settings):
    shift = settings["max_shift"]
    fill = "the mean color" if settings["normalize"] else "black"
    text = (
        f"ResNet-{settings['depth']}, width {settings['width']}, {row['epochs']} epochs on "
        f"{row['train_images']:,} training images, one training for each method; AugShift puts two "
        "shifted copies of each image through the network, the others one image. Top-1 is of "
        f"{row['test_images']:,} test images as they are. Consistency is how often two shifts of "
        f"an image, each by up to {shift} pixels down and across, with {fill} at the border, get "
        f"the same class: random, {settings['pairs']} pairs of shifts for each image; exact, all "
        f"pairs of the {(2 * shift + 1) ** 2} shifts, of {row['consistency_images']:,} images. "
        "Worst case: images whose class is right under every shift. After ±, the standard error "
        "over the images."
    )
    train_shift, fill_mode = settings.get("train_shift"), settings.get("fill_mode", "constant")
    if train_shift or fill_mode != "constant":
        text += (
            f" Shifts in training are of up to {train_shift or shift} pixels, with fill mode "
            f"{fill_mode!r} at the border."
        )
    if settings["dataset"] in PAPER:
        text += (
            " The paper's figures are of ResNet-18, width 64; its consistency is to be compared "
            "with the random one."
        )
    return text


def _weight_sentence(rows, settings):
    """How AugShift's weight was chosen, in a list of one sentence; none without AugShift."""
    chosen = [row["consistency_weight"] for row in _finals(rows) if "consistency_weight" in row]
    if not chosen:
        return []
    trials = _trials(rows)
    if not trials:
        return [f"AugShift's consistency weight, {chosen[0]:g}, was given."]
    trial = trials[0]
    tolerance = settings["weight_tolerance"]
    return [
        f"The weight {chosen[0]:g} was chosen on {trial['test_images']:,} held out training "
        f"images, after {trial['epochs']} epochs on {trial['train_images']:,} others: of the "
        f"weights whose top-1 is at most {tolerance:g} point{'' if tolerance == 1 else 's'} below "
        "the best one's, it has the highest exact consistency."
    ]


def _draw(content):
    """The figure: consistency against accuracy; beside it, accuracy under each shift."""
    from matplotlib.figure import Figure

    rows = _finals(content["rows"])
    columns = min(3, len(rows))
    lines = math.ceil(len(rows) / columns)
    figure = Figure(
        figsize=(6.2 + 2.0 * columns, 1.6 + 2.3 * max(1.4, lines)), layout="constrained"
    )
    left, right = figure.subfigures(1, 2, width_ratios=(5, 1.2 + 2.0 * columns))
    _draw_points(left.subplots(), rows, content["settings"])
    _draw_maps(right, right.subplots(lines, columns, squeeze=False), rows)
    return figure


def _draw_points(ax, rows, settings):
    """One labelled point a method; the labels stand in a column of their own at the right."""
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
            color=_COLORS[row["method"]],
        )
    ax.margins(x=0.12, y=0.15)
    low, high = ax.get_xlim()
    ax.set_xlim(low, high + 0.75 * (high - low))
    bottom, top = ax.get_ylim()
    by_height = sorted(rows, key=lambda row: row["consistency_exact"])
    heights = _spread([row["consistency_exact"] for row in by_height], 0.075 * (top - bottom))
    for row, height in zip(by_height, heights):
        ax.annotate(
            _name(row),
            (row["top1"], row["consistency_exact"]),
            (high, height),
            color=_COLORS[row["method"]],
            va="center",
            fontsize=11,
            fontweight="bold",
            arrowprops={"arrowstyle": "-", "color": _COLORS[row["method"]], "lw": 0.7},
        )
    ax.set(
        xlabel="top-1 accuracy, unshifted (%); bars: standard errors",
        ylabel=f"same class for two shifts of up to {settings['max_shift']} pixels (%)",
    )
    ax.set_title(f"Shift consistency and accuracy ({settings['dataset']})", fontsize=12)
    ax.grid(alpha=0.3)


def _spread(values, gap):
    """Moves sorted values apart until neighbors are at least `gap` from each other."""
    groups = []  # [mean, count]: neighbors that stand side by side around their mean
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
        ax.set_title(f"{_name(row)}\n{values.min():.1f} to {values.max():.1f} %", fontsize=11)
        ax.set(xticks=[-shift, 0, shift], yticks=[-shift, 0, shift])
        if index % all_axes.shape[1] == 0:
            ax.set_ylabel("shift down (px)")
        if index + all_axes.shape[1] >= len(rows):
            ax.set_xlabel("shift right (px)")
    figure.colorbar(image, ax=all_axes, shrink=0.8, label="accuracy (%)")
    figure.suptitle("Accuracy under each shift", fontsize=12)
