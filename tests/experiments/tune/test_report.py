import io
import shlex

import numpy as np
import pytest
import tyro
from rich.console import Console

from keras_gappos.experiments.invariance.settings import InvarianceSettings
from keras_gappos.experiments.tune.report import (
    best_command,
    make_table,
    rank_trials,
    without_stages,
    write_report,
)

SETTINGS = {
    "max_shift": 4,
    "consistency_weight": 1.3,
    "learning_rate": 0.08,
    "weight_decay": 0.005,
    "batch_size": 128,
    "depth": 18,
    "width": 16,
    "stem": "cifar",
    "downsampling": "stride",
    "fill_mode": "constant",
    "flip": True,
}
OBJECTIVES = ("val_accuracy", "val_shift_consistency", "consistency_above_floor")


def row(trial, accuracy=70.0, consistency=80.0, settings=(), **more):
    return {
        "trial": trial,
        "status": "COMPLETED",
        "settings": {**SETTINGS, **dict(settings)},
        "epochs": 3,
        "initial_epoch": 0,
        "continues": None,
        "val_accuracy": accuracy,
        "val_shift_consistency": consistency,
        "score": consistency,
        "seconds": 30.0,
        "worker": None,
        "message": None,
        **more,
    }


def failed(trial, message="loss became NaN in epoch 2", **more):
    nothing = {"val_accuracy": None, "val_shift_consistency": None, "score": None, "epochs": 1}
    return {**row(trial, 0.0, 0.0), **nothing, "status": "FAILED", "message": message, **more}


def content(rows, objective="consistency_above_floor", **settings):
    return {
        "experiment": "tune",
        "command": "keras-gappos tune --trials 30",
        "settings": {
            "dataset": "cifar10",
            "tuner": "hyperband",
            "objective": objective,
            "tolerance": 1.0,
            "epochs": 9,
            "train_images": 12000,
            "validation_images": 2000,
            "measure_shift": 4,
            "precision": "float32",
            **settings,
        },
        "environment": {"backend": "jax 1.0", "device": "CPU, 2 cores"},
        "rows": rows,
    }


def random_rows(count, names, seed=0):
    """Trials whose settings of these names are drawn, in rungs as Hyperband has them."""
    generator = np.random.default_rng(seed)
    choices = {
        "max_shift": range(1, 9),
        "consistency_weight": [0.0, *np.logspace(-1, 2, 50)],
        "learning_rate": np.logspace(-2, 0, 50),
        "weight_decay": np.logspace(-4, -2, 50),
        "batch_size": [32, 64, 128],
        "depth": [18, 34, 50],
        "width": [16, 32, 64],
        "stem": ["cifar", "canvas", "imagenet"],
        "downsampling": ["stride", "blur", "polyphase"],
        "fill_mode": ["constant", "nearest", "reflect", "wrap"],
        "flip": [True, False],
    }
    rows = []
    for trial in range(count):
        drawn = {name: choices[name][generator.integers(len(choices[name]))] for name in names}
        drawn = {k: float(v) if isinstance(v, np.floating) else v for k, v in drawn.items()}
        rung = {"epochs": 9, "initial_epoch": 3, "continues": trial - 1} if trial % 3 == 2 else {}
        if rung:
            drawn = rows[-1]["settings"]
        rows.append(row(trial, *generator.uniform(40, 90, 2), settings=drawn, **rung))
    return rows


def text_of(table):
    text = io.StringIO()
    Console(file=text, width=80).print(table)
    return text.getvalue()


def cells(text):
    return [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]


def test_the_table_shows_what_differs_and_names_what_does_not():
    rows = [row(trial, 70 + trial, settings={"max_shift": trial + 1}) for trial in range(7)]
    text = text_of(make_table([*rows, failed(7)], "val_accuracy", 1.0, count=2))
    lines = [line.split() for line in text.splitlines()]
    assert ["1", "6", "7", "3", "76.00", "80.00"] in lines
    assert ["2", "5", "6", "3", "75.00", "80.00"] in lines
    assert ["3", "4", "5", "3", "74.00", "80.00"] not in lines
    text = " ".join(text.split())
    assert "Best: trial 6, the highest accuracy." in text
    assert "Completed trials: 7 (listed: the best 2; left out: 0 continued by another" in text
    assert "Failed: 1." in text
    assert "The same in all trials: consistency weight 1.3, learning rate 0.08," in text
    assert "max shift (px) 4" not in text


@pytest.mark.parametrize("names", [(), ("learning_rate",), tuple(SETTINGS)])
def test_the_table_fits_a_terminal_of_80_columns(names):
    rows = [
        {**row, "val_accuracy": 100.0, "trial": 100 + row["trial"]}
        for row in random_rows(12, names)
    ]
    text = text_of(make_table(rows, "val_shift_consistency", 1.0))
    assert "…" not in text
    assert len(text.splitlines()) < 25
    for trial in without_stages(rank_trials(rows, "val_shift_consistency", 1.0))[:5]:
        assert f" {trial['trial']} " in text
        assert f" {trial['val_shift_consistency']:.2f} " in text


def test_a_trial_that_another_one_continues_has_no_line_but_is_counted(tmp_path):
    rows = [row(0, 60.0), row(1, 70.0), row(2, 80.0, continues=1, initial_epoch=3, epochs=9)]
    rows += [row(3, 50.0), failed(4, continues=3)]
    text = text_of(make_table(rows, "val_accuracy", 1.0))
    lines = [line.split() for line in text.splitlines()]
    # 4 has failed, so that 3 is the last one of its settings
    trials = [line[1] for line in lines if len(line) == 5 and line[0].isdigit()]
    assert trials == ["2", "0", "3"]
    summary = "Completed trials: 4 (listed: the best 3; left out: 1 continued by another trial)."
    summary += " Failed: 1."
    assert summary in " ".join(text.split())
    write_report(tmp_path, content(rows, "val_accuracy"))
    text = (tmp_path / "table.md").read_text()
    assert [line[1] for line in cells(text)[2:]] == ["2", "0", "3"]
    assert summary in text


def test_settings_are_in_the_order_of_the_search_space_wherever_they_come_from():
    rows = [row(trial, settings={"max_shift": trial, "flip": trial > 1}) for trial in (1, 2)]
    for shuffled in rows:
        settings = {"new": 1, **dict(sorted(shuffled["settings"].items())), "newer": 2}
        shuffled["settings"] = settings
    text = text_of(make_table(rows, "val_accuracy", 1.0))
    assert text.index("max") < text.index("flip")
    assert (
        "The same in all trials: consistency weight 1.3, learning rate 0.08, weight decay 0.005, "
        "batch size 128, width 16, depth 18, stem cifar, downsampling stride, fill mode constant, "
        "new 1, newer 2." in " ".join(text.split())
    )


def test_before_a_trial_is_completed_there_is_no_table():
    for rows in ([], [failed(0)]):
        text = text_of(make_table(rows, "consistency_above_floor", 1.0))
        assert text.startswith("Completed trials: 0 ")
        assert " ".join(text.split()).endswith(f"Failed: {len(rows)}.")


def parsed(command):
    words = shlex.split(command)
    assert words[:3] == ["keras-gappos", "run", "invariance"]
    return tyro.cli(InvarianceSettings, args=words[3:])


def test_the_command_trains_the_best_settings_and_scores_them_as_the_search_did():
    best = {
        "max_shift": 6,
        "consistency_weight": 12.345678,
        "learning_rate": 0.0123456,
        "weight_decay": 0.0,
        "batch_size": 64,
        "depth": 34,
        "stem": "canvas",
        "downsampling": "blur",
        "fill_mode": "reflect",
        "flip": False,
    }
    rows = [row(0), row(1, 75.0, settings=best)]
    command = best_command(content(rows, precision="mixed_bfloat16", measure_shift=3))
    assert "--data-dir DATA_DIR" in command
    assert "--epochs" not in command
    assert parsed(command) == InvarianceSettings(
        data_dir="DATA_DIR",
        output_dir="results/tuned",
        methods=("augshift_blurpool",),
        max_shift=3,
        train_shift=6,
        consistency_weights=(12.35,),
        learning_rate=0.01235,
        weight_decay=0.0,
        batch_size=64,
        depth=34,
        width=16,
        stem="canvas",
        fill_mode="reflect",
        flip=False,
        precision="mixed_bfloat16",
    )


def test_what_is_the_default_is_not_in_the_command():
    rows = [row(0, settings={"learning_rate": 0.1, "width": 64})]
    assert best_command(content(rows, dataset="digits"), full_epochs=30) == (
        "keras-gappos run invariance --dataset digits --epochs 30 --methods augshift "
        "--consistency-weights 1.3 --output-dir results/tuned"
    )
    assert best_command(content([failed(0)])) is None


@pytest.mark.parametrize(
    ("downsampling", "method"),
    [("stride", "augshift"), ("blur", "augshift_blurpool"), ("polyphase", "augshift_aps")],
)
def test_each_downsampling_has_its_method(downsampling, method):
    rows = [row(0, settings={"downsampling": downsampling})]
    assert parsed(best_command(content(rows))).methods == (method,)


def test_the_report_has_the_best_five_and_what_became_of_the_others(tmp_path):
    rows = [row(trial, 70 + trial / 10, settings={"learning_rate": 0.1}) for trial in range(6)]
    rows[0]["settings"]["learning_rate"] = 0.02
    goes_on = {"continues": 5, "initial_epoch": 3, "epochs": 9, "worker": "worker1"}
    rows.append(row(6, 60.0, 99.0, **goes_on))
    rows += [failed(7), failed(8, "out of\nmemory"), failed(9)]
    write_report(tmp_path, content(rows, "val_accuracy"))
    text = (tmp_path / "table.md").read_text()
    table = cells(text)
    assert table[0] == ["rank", "trial", "learning rate", "epochs", "accuracy %", "consistency %"]
    assert table[2] == ["1", "5", "0.1", "3", "70.50", "80.00"]
    assert [line[1] for line in table[2:]] == ["5", "4", "3", "2", "1"]
    assert "up to 4 px on each axis" in text
    assert "Tuner hyperband, at most 9 epochs a trial, on the first 12,000 training images" in text
    assert "of which the last 2,000 are held out." in text
    assert "Best: trial 5, the highest accuracy. Its accuracy has a standard error of 1.0" in text
    # Trial 5 was continued, but it is the best and listed.
    assert (
        "Completed trials: 7 (listed: the best 5; left out: 0 continued by another trial)." in text
    )
    assert "Failed: 3. Training: 27 epochs, 5.0 minutes summed over the workers." in text
    assert "Failed trials:\n\n- 7, 9: loss became NaN in epoch 2\n- 8: out of memory\n" in text
    assert f"```sh\n{best_command(content(rows, 'val_accuracy'))}\n```" in text
    assert text.endswith("on CPU, 2 cores by\n\n```sh\nkeras-gappos tune --trials 30\n```\n")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_search_without_a_completed_trial_has_a_report_that_says_so(tmp_path):
    write_report(tmp_path, content([failed(0), failed(1)]))
    text = (tmp_path / "table.md").read_text()
    assert "Completed trials: 0 " in text and "Failed: 2." in text
    assert "- 0, 1: loss became NaN in epoch 2" in text
    assert "keras-gappos run" not in text
    assert not (tmp_path / "figure.png").exists()


def test_one_trial_has_no_figure_and_two_have_one(tmp_path):
    for count in (1, 2):
        write_report(tmp_path, content([failed(7), *map(row, range(count))]))
        assert (tmp_path / "figure.png").exists() == (count > 1)
