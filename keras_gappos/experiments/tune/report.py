"""The tables of a hyperparameter search over AugShift trainings, made from its rows."""

import io

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from keras_gappos.experiments.engine.results import command_line
from keras_gappos.experiments.invariance.settings import InvarianceSettings
from keras_gappos.experiments.tune.figure import draw, setting_label, setting_text
from keras_gappos.experiments.tune.ranking import (
    accuracy_floor,
    rank_trials,
    trained_further,
    without_stages,
)
from keras_gappos.files import replacing
from keras_gappos.tuning.augshift import AUGSHIFT_SPACE

METHODS = {"stride": "augshift", "blur": "augshift_blurpool", "polyphase": "augshift_aps"}
_TUNERS = {
    "hyperband": "Hyperband",
    "random": "random search",
    "bayesian": "Bayesian optimization",
}
_TERMINAL = 80  # columns
_LISTED = 5  # trials in a table
_SHARED = ("dataset", "normalize", "precision")  # settings of this experiment and of invariance
_DIGITS = 4  # significant ones, of a setting in the command for the best trial
_BEST_DIR = "results/tuned"


def make_table(rows, objective, tolerance, count=_LISTED):
    """The best trials so far for a terminal: a line each, or a column each if lines are too long.

    Args:
        rows, objective, tolerance: as in `rank_trials`.
        count: how many of the best.

    Returns:
        What a `rich.console.Console` prints, within 80 columns for the default count.
    """
    ranked = rank_trials(rows, objective, tolerance)
    listed = without_stages(ranked)
    best = f"The best {count} of " if len(listed) > count else ""
    failed = f", {len(_failed(rows))} failed" if _failed(rows) else ""
    left_out = len(ranked) - len(listed)
    stages = f"; left out: {left_out} trained further as another trial" if left_out else ""
    line = f"{best}{_counted(len(ranked), 'completed trial')}{failed}{stages}."
    if not ranked:
        return Group(Text(line))
    lines = [f"{line} Best: {_merit(rows, objective, tolerance)}."]
    if same := _same(rows):
        lines.append(f"The same in all: {same}.")
    table = _terminal_table(_columns(listed[:count], _differing(rows)))
    return Group(table, *map(Text, lines))


def best_command(content, full_epochs=None):
    """The command that trains the best trial's settings at full length, and scores it on test data.

    Args:
        content: what is in the search's `results.json`.
        full_epochs: passes over the training images; `None` is the invariance experiment's default.

    Returns:
        A command line, or `None` if no trial was completed.
    """
    settings = content["settings"]
    ranked = rank_trials(content["rows"], settings["objective"], settings["tolerance"])
    if not ranked:
        return None
    best = {name: _rounded(value) for name, value in ranked[0]["settings"].items()}
    shift = best.pop("max_shift", None)
    values = {name: settings[name] for name in _SHARED if name in settings}
    values["max_shift"] = settings.get("measure_shift", InvarianceSettings.max_shift)
    if settings["dataset"] != "digits":  # which is embedded
        values["data_dir"] = "DATA_DIR"
    if full_epochs is not None:
        values["epochs"] = full_epochs
    values["methods"] = (METHODS[best.pop("downsampling", "stride")],)
    if "consistency_weight" in best:
        values["consistency_weights"] = (best.pop("consistency_weight"),)
    if shift != values["max_shift"]:
        values["train_shift"] = shift
    command = command_line("invariance", InvarianceSettings(**values, **best))
    return f"{command} --output-dir {_BEST_DIR}"  # not that of other settings' results


def write_report(folder, content):
    """Writes `table.md` and, once a trial is completed, `figure.png` into `folder`.

    Args:
        folder: a `pathlib.Path`.
        content: what is in `results.json`.
    """
    rows, settings = content["rows"], content["settings"]
    objective, tolerance = settings["objective"], settings["tolerance"]
    ranked = rank_trials(rows, objective, tolerance)
    with replacing(folder / "table.md") as temporary:
        temporary.write_text(_markdown(content, ranked))
    if ranked:
        figure = draw(ranked, _differing(rows), objective, tolerance, settings["dataset"])
        with replacing(folder / "figure.png") as temporary:
            figure.savefig(temporary, dpi=150)


def _names(rows):
    """Names of the settings in the search space's order, whatever a worker's message made of it."""
    order = list(AUGSHIFT_SPACE)
    names = dict.fromkeys(name for row in rows for name in row["settings"])
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def _differing(rows):
    """Names of the settings that are not the same in all trials."""
    names = _names(rows)
    return [name for name in names if len({row["settings"].get(name) for row in rows}) > 1]


def _same(rows):
    """The settings that are the same in all trials, in words."""
    differing = _differing(rows)
    same = [name for name in _names(rows) if name not in differing]
    return ", ".join(f"{setting_label(n)} {setting_text(rows[0]['settings'][n])}" for n in same)


def _failed(rows):
    return [row for row in rows if row["status"] == "FAILED"]


def _counted(number, noun):
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _merit(rows, objective, tolerance):
    """What the best trial has, in words."""
    if objective != "consistency_above_floor":
        return f"the highest {'accuracy' if objective == 'val_accuracy' else 'consistency'}"
    points = f"{tolerance:g} point{'' if tolerance == 1 else 's'}"
    floor = accuracy_floor(rows, objective, tolerance)
    return (
        f"the highest consistency of those with an accuracy of at least {floor:.2f} %, {points} "
        "below the highest"
    )


def _columns(trials, names):
    """The table as columns, each a heading and a cell for each trial."""
    return [
        ["rank", *(str(rank + 1) for rank in range(len(trials)))],
        ["trial", *(str(row["trial"]) for row in trials)],
        *(
            [setting_label(name), *(setting_text(row["settings"].get(name)) for row in trials)]
            for name in names
        ),
        ["epochs", *(str(row["epochs"]) for row in trials)],
        ["accuracy %", *(f"{row['val_accuracy']:.2f}" for row in trials)],
        ["consistency %", *(f"{row['val_shift_consistency']:.2f}" for row in trials)],
    ]


def _terminal_table(columns):
    upright = [[heading.replace(" ", "\n"), *cells] for heading, *cells in columns]
    widths = [max(len(line) for cell in column for line in cell.split("\n")) for column in upright]
    if sum(widths) + 2 * len(widths) <= _TERMINAL:
        return _table(upright, box.SIMPLE)
    table = _table(zip(*columns), box.SIMPLE)
    table.columns[0].justify = "left"
    return table


def _table(columns, style):
    columns = list(columns)
    table = Table(box=style, collapse_padding=True, pad_edge=False)
    for heading, *_ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for line in zip(*(cells for _, *cells in columns)):
        table.add_row(*line)
    return table


def _markdown(content, ranked):
    rows, environment = content["rows"], content["environment"]
    parts = [f"# Settings of AugShift, searched on {content['settings']['dataset']}"]
    parts.append(_explanation(content["settings"], rows, ranked))
    if ranked:
        merit = _merit(rows, content["settings"]["objective"], content["settings"]["tolerance"])
        error = _standard_error(ranked[0]["val_accuracy"], content["settings"])
        parts.append(
            f"The best trial is the one with {merit}. Its accuracy has a standard error of "
            f"{error:.1f} points."
        )
        best = without_stages(ranked)[:_LISTED]
        parts.append(_plain(_table(_columns(best, _differing(rows)), box.MARKDOWN)))
    else:
        parts.append("No trial was completed.")
    if same := _same(rows):
        parts.append(f"The same in all trials: {same}.")
    parts.append(_count_sentence(rows, ranked))
    if failed := _failed(rows):
        parts.append("\n".join(_failures(failed)))
    if ranked:
        parts.append(
            f"The settings of the best, trial {ranked[0]['trial']}, at full length on all training "
            f"images, and scored on the test images:\n\n```sh\n{best_command(content)}\n```"
        )
    parts.append(
        f"Made by `{content['command']}` with {environment['backend']} on {environment['device']}."
    )
    return "\n\n".join(parts) + "\n"


def _explanation(settings, rows, ranked):
    tuner = _TUNERS.get(settings["tuner"], settings["tuner"])
    images, held_out = settings.get("train_images"), settings["validation_images"]
    used = f"the first {images:,} training images" if images else "the training images"
    epochs = settings["epochs"]
    length = "up to " if any((row["epochs"] or 0) < epochs for row in rows) else ""
    shift = settings.get("measure_shift")
    size = f", each by up to {_counted(shift, 'pixel')} down and across," if shift else ""
    goes_on = (
        " Where a trial continues the training of an earlier one, its epochs count both, "
        "and the table leaves the earlier one out, unless that is the best."
        if trained_further(ranked)
        else ""
    )
    return (
        f"Searched with {tuner}: AugShift is trained for {length}{_counted(epochs, 'epoch')} on "
        f"{used}; the last {held_out:,} of them are held out, and it is scored on those. Accuracy "
        f"is of images as they are, consistency is how often two shifts of an image{size} get the "
        f"same class.{goes_on}"
    )


def _standard_error(accuracy, settings):
    """That of an accuracy on the held out images, in percentage points."""
    return (accuracy * (100 - accuracy) / settings["validation_images"]) ** 0.5


def _count_sentence(rows, ranked):
    epochs = sum((row["epochs"] or 0) - (row["initial_epoch"] or 0) for row in rows)
    minutes = sum(row["seconds"] or 0 for row in rows) / 60
    workers = len({row["worker"] for row in rows})
    together = f" of {workers} workers together" if workers > 1 else ""
    stages = len(trained_further(ranked))
    further = f" ({stages} of them trained further as another trial)" if stages else ""
    return (
        f"{_counted(len(ranked), 'trial')} completed{further}, {len(_failed(rows))} failed; "
        f"{_counted(epochs, 'epoch')} trained in {minutes:,.1f} minutes{together}."
    )


def _failures(failed):
    """A line for each message, with the trials that failed with it."""
    trials = {}
    for row in failed:
        trials.setdefault(row["message"] or "no message", []).append(str(row["trial"]))
    for message, numbers in trials.items():
        noun = "trial" if len(numbers) == 1 else "trials"
        yield f"- Failed, {noun} {', '.join(numbers)}: {' '.join(message.split())}"


def _rounded(value):
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _plain(table):
    text = io.StringIO()
    Console(file=text, width=250).print(table)
    return "\n".join(line.strip() for line in text.getvalue().splitlines() if line.strip())
