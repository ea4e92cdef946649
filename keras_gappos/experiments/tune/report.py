"""The tables of a hyperparameter search over AugShift trainings, made from its rows."""

from __future__ import annotations

import pathlib

from rich.console import Group
from rich.table import Table
from rich.text import Text

from keras_gappos.experiments.engine.markdown import (
    markdown_table,
    page,
    terminal_table,
    write_files,
)
from keras_gappos.experiments.engine.results import command_line
from keras_gappos.experiments.invariance.settings import InvarianceSettings
from keras_gappos.experiments.tune.figure import draw, setting_label, setting_text, trained_further
from keras_gappos.tuning.augshift import AUGSHIFT_SPACE
from keras_gappos.tuning.objective import (
    ABOVE_FLOOR,
    best_first,
    collapse_mark,
    is_collapsed,
    objective_scores,
)

METHODS = {"stride": "augshift", "blur": "augshift_blurpool", "polyphase": "augshift_aps"}
_TERMINAL = 80  # columns
_LISTED = 5  # trials in a table
_SHARED = ("dataset", "normalize", "precision")  # settings of this experiment and of invariance
_DIGITS = 4  # significant ones, of a setting in the command for the best trial
_BEST_DIR = "results/tuned"
_MERITS = {
    "val_accuracy": "the highest accuracy",
    "val_shift_consistency": "the highest consistency",
    ABOVE_FLOOR: "the highest consistency with an accuracy of at least {floor:.2f} %",
}


def rank_trials(rows: list[dict], objective: str, tolerance: float) -> list[dict]:
    """The completed trials, best first; of equal ones, the earlier comes first.

    Networks that have collapsed to one class come last.

    Args:
        rows: the search's rows.
        objective: one of `keras_gappos.tuning.objective.OBJECTIVES`.
        tolerance: how far below the best accuracy the floor is, in percentage points.
    """
    completed = [row for row in rows if row["status"] == "COMPLETED"]
    scores = _scores(completed, objective, tolerance)
    return [completed[i] for i in best_first(scores, [row["trial"] for row in completed])]


def accuracy_floor(ranked: list[dict], objective: str, tolerance: float) -> float | None:
    """The accuracy in percent that the best trial must have; `None` if there is no floor.

    Args:
        ranked: what `rank_trials` returns.
        objective, tolerance: as there.
    """
    if objective != ABOVE_FLOOR or not ranked:
        return None
    counting = [row for row in ranked if not is_collapsed(row)] or ranked
    return max(row["val_accuracy"] for row in counting) - tolerance


def below_floor(ranked: list[dict], objective: str, tolerance: float) -> set[int]:
    """Numbers of the completed trials that are below the floor, or collapsed to one class."""
    scores = _scores(ranked, objective, tolerance)
    return {row["trial"] for row, score in zip(ranked, scores) if score < 0}


def without_stages(ranked: list[dict]) -> list[dict]:
    """The trials of a table: without those that another trial continued, except the best.

    The best trial is the search's result even if more training made it worse.

    Args:
        ranked: what `rank_trials` returns.
    """
    stages = trained_further(ranked)
    return [row for rank, row in enumerate(ranked) if rank == 0 or row["trial"] not in stages]


def make_table(rows: list[dict], objective: str, tolerance: float, count: int = _LISTED) -> Group:
    """The best trials so far for a terminal: a line each, or a column each if lines are too long.

    Args:
        rows, objective, tolerance: as in `rank_trials`.
        count: how many of the best; the table fits 80 columns for the default.
    """
    ranked = rank_trials(rows, objective, tolerance)
    if not ranked:
        return Group(Text(_summary(rows, ranked)))
    columns = _columns(without_stages(ranked)[:count], _differing(rows))
    notes = (_merit(ranked, objective, tolerance), _same(rows), _summary(rows, ranked, count))
    return Group(_terminal_table(columns), *(Text(note) for note in notes if note))


def best_command(results: dict, full_epochs: int | None = None) -> str | None:
    """The command that trains the best trial's settings at full length, and scores it on test data.

    Args:
        results: the content of the search's `results.json`.
        full_epochs: passes over the training images; `None` is the invariance experiment's default.

    Returns:
        A command line, or `None` if no trial was completed.
    """
    settings = results["settings"]
    ranked = rank_trials(results["rows"], settings["objective"], settings["tolerance"])
    if not ranked:
        return None
    best = {name: _rounded(value) for name, value in ranked[0]["settings"].items()}
    shift = best.pop("max_shift", None)
    values = {name: settings[name] for name in _SHARED if name in settings}
    values["max_shift"] = _measured_shift(settings)
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


def write_report(folder: pathlib.Path, results: dict, test_images: object = None) -> None:
    """Writes `table.md` and, once there are trials to compare, `figure.png` into `folder`.

    Args:
        folder: the search's output folder.
        results: the content of `results.json`.
        test_images: not used.
    """
    rows, settings = results["rows"], results["settings"]
    objective = (settings["objective"], settings["tolerance"])
    ranked, figure = rank_trials(rows, *objective), None
    if len(ranked) > 1:
        floor, faded = accuracy_floor(ranked, *objective), below_floor(ranked, *objective)
        figure = draw(ranked, _differing(rows), floor, faded, settings)
    write_files(folder, table(results), figure)


def table(results: dict) -> str:
    """The text of `table.md`.

    Args:
        results: the content of `results.json`.
    """
    rows, settings = results["rows"], results["settings"]
    objective = (settings["objective"], settings["tolerance"])
    ranked = rank_trials(rows, *objective)
    parts = [f"# Settings of AugShift, searched on {settings['dataset']}"]
    if ranked:
        headings, *lines = zip(*_columns(without_stages(ranked)[:_LISTED], _differing(rows)))
        accuracy, held_out = ranked[0]["val_accuracy"], settings["validation_images"]
        parts += [
            markdown_table(headings, lines),
            f"{_merit(ranked, *objective)} Its accuracy has a standard error of "
            f"{(accuracy * (100 - accuracy) / held_out) ** 0.5:.1f} points.",
            "To train it at full length on all training images and score it on the test images:\n\n"
            f"```sh\n{best_command(results)}\n```",
        ]
    return page(results, *parts, *_captions(rows, ranked, settings), _failures(rows))


def _scores(rows, objective, tolerance):
    names = ("val_accuracy", "val_shift_consistency")
    accuracies, consistencies = ([row[name] for row in rows] for name in names)
    collapsed = list(map(is_collapsed, rows))
    return objective_scores(objective, accuracies, consistencies, tolerance, collapsed)


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
    """The settings that are the same in all trials; empty if there are none."""
    differing = _differing(rows)
    same = [name for name in _names(rows) if name not in differing]
    words = [f"{setting_label(n)} {setting_text(rows[0]['settings'][n])}" for n in same]
    return f"The same in all trials: {', '.join(words)}." if words else ""


def _failed(rows):
    return [row for row in rows if row["status"] == "FAILED"]


def _merit(ranked, objective, tolerance):
    merit = _MERITS[objective].format(floor=accuracy_floor(ranked, objective, tolerance))
    return f"Best: trial {ranked[0]['trial']}, {merit}."


def _summary(rows, ranked, count=_LISTED):
    remaining = len(without_stages(ranked))
    return (
        f"Completed trials: {len(ranked)} (listed: the best {min(count, remaining)}; left out: "
        f"{len(ranked) - remaining} continued by another trial). Failed: {len(_failed(rows))}."
    )


def _measured_shift(settings):
    return settings.get("measure_shift", InvarianceSettings.max_shift)


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
        [
            "consistency %",
            *(f"{row['val_shift_consistency']:.2f}{collapse_mark(row)}" for row in trials),
        ],
    ]


def _terminal_table(columns) -> Table:
    upright = [[heading.replace(" ", "\n"), *cells] for heading, *cells in columns]
    widths = [max(len(line) for cell in column for line in cell.split("\n")) for column in upright]
    if sum(widths) + 2 * len(widths) <= _TERMINAL:
        headings, *lines = zip(*upright)
        return terminal_table(headings, lines)
    return terminal_table(columns[0], columns[1:], 1)


def _captions(rows, ranked, settings):
    epochs = sum((row["epochs"] or 0) - (row["initial_epoch"] or 0) for row in rows)
    minutes = sum(row["seconds"] or 0 for row in rows) / 60
    images = settings.get("train_images")
    used = f"first {images:,} " if images else ""
    return [
        f"Accuracy: of {settings['validation_images']:,} unshifted held-out images. Consistency: "
        f"how often two shifts of an image, up to {_measured_shift(settings)} px on each axis, get "
        "the same class. Epochs: with those of the trial that a trial continues.",
        _same(rows),
        f"Tuner {settings['tuner']}, at most {settings['epochs']} epochs a trial, on the {used}"
        f"training images, of which the last {settings['validation_images']:,} are held out. "
        f"{_summary(rows, ranked)} Training: {epochs} epochs, {minutes:,.1f} minutes summed over "
        "the workers.",
    ]


def _failures(rows):
    """A line for each message, with the trials that failed with it; empty if none failed."""
    trials = {}
    for row in _failed(rows):
        trials.setdefault(row["message"] or "no message", []).append(str(row["trial"]))
    lines = (f"- {', '.join(n)}: {' '.join(message.split())}" for message, n in trials.items())
    return "\n".join(["Failed trials:\n", *lines]) if trials else ""


def _rounded(value):
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
