import dataclasses
import inspect

import pytest

from keras_gappos.cli import main as cli
from keras_gappos.cli.help import field_docstrings
from keras_gappos.experiments.attack.run import Attack
from keras_gappos.experiments.attack.settings import AttackSettings
from keras_gappos.experiments.invariance.run import Invariance
from keras_gappos.experiments.invariance.settings import InvarianceSettings
from keras_gappos.experiments.location.run import Location
from keras_gappos.experiments.location.settings import LocationSettings
from keras_gappos.experiments.probe.settings import ProbeSettings
from keras_gappos.experiments.tune.settings import TuneSettings
from keras_gappos.tuning.augshift import AUGSHIFT_SPACE
from keras_gappos.tuning.space import Choices
from keras_gappos.version import __version__


@pytest.mark.parametrize(
    ("experiment", "width"),
    [("location", 64), ("invariance", 64), ("attack", 16), ("probe", 16)],
)
def test_help_names_the_flags_with_units_and_defaults(experiment, width, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["run", experiment, "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    for flag in ("--dataset", "--data-dir", "--output-dir", "--epochs", "--width", "--seed"):
        assert flag in text
    for flag in ("--precision", "--distribute {none,mirrored,jax}", "--jit-compile {auto,on,off}"):
        assert flag in text
    assert f"(default: {width})" in text
    assert "percent" in text


def help_of(*command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "2000")
    with pytest.raises(SystemExit):
        cli.main([*command, "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        (["demo"], cli.DemoSettings),
        (["run", "location"], LocationSettings),
        (["run", "invariance"], InvarianceSettings),
        (["run", "attack"], AttackSettings),
        (["run", "probe"], ProbeSettings),
        (["tune"], TuneSettings),
    ],
)
def test_help_breaks_lines_at_the_terminals_width_only(command, settings, monkeypatch, capsys):
    text = help_of(*command, monkeypatch=monkeypatch, capsys=capsys)
    texts = {}
    for base in reversed(inspect.getmro(settings)[:-1]):
        texts |= field_docstrings(base)
    assert {field.name for field in dataclasses.fields(settings)} == set(texts)
    for docstring in texts.values():
        assert f" {docstring} (default: " in text


def test_help_of_tune_speaks_of_what_tune_has(monkeypatch, capsys):
    text = help_of("tune", monkeypatch=monkeypatch, capsys=capsys)
    assert "KERAS_DISTRIBUTION" not in text and "--batch-size" not in text
    for name, dimension in AUGSHIFT_SPACE.items():
        values = str(dimension).removesuffix(" (log)")
        values = values.lower() if isinstance(dimension, Choices) else values
        assert f" {name} ({values})" in text
    assert "help(keras_gappos.tuning.AugShiftHyperModel)" in text


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("tune --space width=8 --space batch_size=32", "--space"),
        ("tune --space=width=8 --space=batch_size=32", "--space"),
        ("run location --grids 3 --tasks class --grids 5", "--grids"),
        ("run invariance --methods aps --methods augshift", "--methods"),
        ("run invariance --consistency-weights 1 --consistency_weights 3", "--consistency-weights"),
        ("run attack --counts 8 --counts 16", "--counts"),
        ("run probe --width 8 --width 16", "--width"),
    ],
)
def test_a_flag_that_comes_twice_is_refused_in_one_line(command, flag, capsys):
    assert cli.main(command.split()) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"keras-gappos: `{flag}` must be given once")
    assert error.endswith(f"Received: {flag} 2 times\n")
    assert error.count("\n") == 1


def test_one_flag_takes_several_values(monkeypatch):
    seen = []
    search = "keras_gappos.experiments.tune.run.run"
    monkeypatch.setattr(search, lambda settings, console: seen.append(settings))
    assert cli.main(["tune", "--space", "width=8", "batch_size=32"]) == 0
    assert seen[0].space == ("width=8", "batch_size=32")


def test_every_setting_is_a_flag(monkeypatch):
    seen = []
    monkeypatch.setattr(Location, "run", lambda self, console: seen.append(self.settings) or [])
    flags = (
        "--dataset mnist --data-dir d --output-dir o --grids 2 4 --tasks class --networks gapnet"
    )
    flags += " --depth 34 --width 8 --epochs 3 --location-epochs 2 --target-accuracy 99"
    flags += " --train-images 9 --padding circular"
    flags += " --test-images 8 --test-passes 1 --batch-size 7 --learning-rate 0.1 --no-flip"
    flags += " --no-normalize --precision mixed_float16 --seed 5 --no-show-images"
    flags += " --distribute mirrored --jit-compile off"
    assert cli.main(["run", "location", *flags.split()]) == 0
    (settings,) = seen
    defaults = LocationSettings()
    unchanged = [name for name in vars(settings) if vars(settings)[name] == vars(defaults)[name]]
    assert unchanged == []
    assert settings.grids == (2, 4)


def test_every_setting_of_invariance_is_a_flag(monkeypatch):
    seen = []
    monkeypatch.setattr(Invariance, "run", lambda self, console: seen.append(self.settings) or [])
    flags = "--dataset mnist --data-dir d --output-dir o --methods augshift aps --depth 34"
    flags += " --width 8 --stem imagenet --epochs 3 --batch-size 7 --learning-rate 0.2 --warmup 0.1"
    flags += " --weight-decay 0 --label-smoothing 0.1 --no-flip --max-shift 2"
    flags += " --consistency-weights 3 5 --search-epochs 2"
    flags += " --search-images 90 --validation-images 9 --weight-tolerance 0.5 --train-images 99"
    flags += " --test-images 8 --consistency-images 6 --pairs 2 --no-normalize"
    flags += " --train-shift 3 --fill-mode wrap --precision mixed_float16 --seed 5"
    flags += " --distribute jax --jit-compile on"
    assert cli.main(["run", "invariance", *flags.split()]) == 0
    (settings,) = seen
    defaults = InvarianceSettings()
    assert [k for k in vars(settings) if vars(settings)[k] == vars(defaults)[k]] == []
    assert (settings.methods, settings.consistency_weights) == (("augshift", "aps"), (3.0, 5.0))


def test_every_setting_of_the_attack_is_a_flag(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(Attack, "run", lambda self, console: seen.append(self.settings) or [])
    weights = tmp_path / "a.weights.h5"
    weights.write_text("")
    flags = "--dataset camvid --data-dir d --output-dir o --train-split validation --test-split t"
    flags += (
        " --size 90 120 --num-classes 4 --ignore-class 9 --depth 34 --width 8 --output-stride 16"
    )
    flags += f" --weights {weights} --epochs 3 --batch-size 7 --learning-rate 0.2 --weight-decay 0"
    flags += " --flips True --scale 0.8 1.2 --crop 64 80 --counts 8 16 --method signed_flip"
    flags += " --latent head_relu"
    flags += " --divide-by-activity --draws 2 --train-images 9 --rank-images 6 --test-images 8"
    flags += " --precision mixed_float16 --seed 5 --no-show-images"
    flags += " --distribute mirrored --jit-compile off"
    assert cli.main(["run", "attack", *flags.split()]) == 0
    (settings,) = seen
    defaults = AttackSettings()
    assert [k for k in vars(settings) if vars(settings)[k] == vars(defaults)[k]] == []
    assert (settings.flips, settings.counts, settings.size) == ((True,), (8, 16), (90, 120))


def test_every_setting_of_a_search_is_a_flag_and_its_best_five_are_shown(
    monkeypatch, capsys, tmp_path
):
    def search(settings, console):
        seen.append(settings)
        trial = {"status": "COMPLETED", "continues": None, "initial_epoch": 0, "epochs": 4}
        rows = [
            {
                **trial,
                "trial": number,
                "settings": {"max_shift": 2 + number, "consistency_weight": 3.0},
                "val_accuracy": 60.0 + number,
                "val_shift_consistency": 80.0,
                "seconds": 1.0,
                "message": None,
            }
            for number in range(7)
        ]
        return {"rows": rows, "settings": vars(settings)}

    seen = []
    monkeypatch.setattr("keras_gappos.experiments.tune.run.run", search)
    flags = f"--dataset mnist --data-dir d --output-dir {tmp_path} --tuner bayesian --trials 7"
    flags += " --objective val_accuracy --tolerance 2 --epochs 4 --factor 2 --space width=8,16"
    flags += " --train-images 900 --validation-images 90 --consistency-images 60 --measure-shift 3"
    flags += " --no-normalize --precision mixed_float16 --distribute jax --jit-compile on --seed 5"
    flags += " --workers 2 --tensorboard"
    assert cli.main(["tune", *flags.split()]) == 0
    (settings,) = seen
    defaults = TuneSettings()
    assert [k for k in vars(settings) if vars(settings)[k] == vars(defaults)[k]] == []
    output = capsys.readouterr().out
    assert "Completed trials: 7 (listed: the best 5;" in " ".join(output.split())
    command = output.strip().splitlines()[-1]
    assert command.startswith("keras-gappos run invariance --dataset mnist --data-dir DATA_DIR")
    assert "--max-shift 3 --train-shift 8" in command


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tuner", "hyperbnd"], "Did you mean 'hyperband'?"),
        (["--objective", "val_acuracy"], "Did you mean 'val_accuracy'?"),
    ],
)
def test_an_unknown_tuner_or_objective_is_answered_with_the_nearest(flags, message, capsys):
    assert cli.main(["tune", *flags]) == 1
    assert capsys.readouterr().err.strip().endswith(message)


def test_the_demo_ends_with_one_sentence_and_the_figure(monkeypatch, capsys, tmp_path):
    (tmp_path / "figure.png").write_bytes(b"")
    seen, rows = [], []
    for network, grid_size, accuracy in (
        ("gapnet", 3, 99.7),
        ("gapnet", 7, 100.0),
        ("permutenet", 3, 31.2),
        ("permutenet", 7, 5.0),
    ):
        row = {"network": network, "task": "location", "grid_size": grid_size, "padding": "zeros"}
        rows.append(row | {"accuracy": accuracy, "chance": 11.1, "epochs": 2, "seconds": 9})
    monkeypatch.setattr(Location, "run", lambda self, _: seen.append(self.settings) or rows)
    assert cli.main(["demo", "--output-dir", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert str(tmp_path / "figure.png") in text
    sentence = " ".join(text.split())
    assert "names the cell of 100 % of the images" in sentence
    assert "PermuteNet of 5 to 31 %: the place is in the order of the channels." in sentence
    assert (seen[0].dataset, seen[0].grids, seen[0].tasks) == ("digits", (3, 5, 7), ("location",))
    assert (seen[0].precision, seen[0].jit_compile) == ("float32", "auto")


def test_the_demo_trains_as_its_flags_say(monkeypatch):
    seen = []
    monkeypatch.setattr(Location, "run", lambda self, _: seen.append(self.settings) or [])
    monkeypatch.setattr(cli, "_sentence", lambda rows: "")
    flags = "--precision mixed_bfloat16 --jit-compile off --seed 3"
    assert cli.main(["demo", *flags.split()]) == 0
    assert (seen[0].precision, seen[0].jit_compile, seen[0].seed) == ("mixed_bfloat16", "off", 3)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--width", "0"], "--width must be at least 1. Received: width=0"),
        (["--dataset", "digits", "--train-images", "5"], "at least one batch"),
        (["--distribute", "multiworker"], "for several hosts use the JAX backend"),
    ],
)
def test_bad_values_end_in_one_line(flags, message, capsys, tmp_path):
    assert cli.main(["run", "location", "--output-dir", str(tmp_path), *flags]) == 1
    error = capsys.readouterr().err
    assert error.startswith("keras-gappos: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.tensorflow
def test_a_data_folder_without_the_data_set_ends_in_one_line(capsys, tmp_path, monkeypatch):
    import requests

    def unreachable(*_, **__):
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "head", unreachable)
    flags = ["--dataset", "mnist", "--data-dir", str(tmp_path), "--output-dir", str(tmp_path / "o")]
    assert cli.main(["run", "location", *flags]) == 1
    error = capsys.readouterr().err
    assert "Three ways to get it" in error
    assert error.count("\n") == 1


def test_ctrl_c_ends_in_one_line(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Location, "run", interrupted)
    assert cli.main(["demo"]) == 130
    assert "the same command resumes" in capsys.readouterr().err


def ended(*words):
    """The exit status of a command line that does not come to run anything."""
    with pytest.raises(SystemExit) as end:
        cli.main(list(words))
    return end.value.code


def test_an_unknown_flag_names_the_nearest_of_its_own_command(capsys):
    assert ended("run", "location", "--widht", "8") == 2
    error = capsys.readouterr().err
    assert "--width INT" in error
    assert "run attack" not in error


@pytest.mark.parametrize(
    ("words", "given", "nearest"),
    [
        ("run locaton", "run locaton", "`run location`"),
        ("run channels", "run channels", "--help"),
        ("zoo lst --x", "zoo lst", "`zoo list`"),
        ("location", "location", "`run location`"),
        ("tuen", "tuen", "`tune`"),
    ],
)
def test_an_unknown_command_names_the_nearest(words, given, nearest, capsys):
    assert ended(*words.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"keras-gappos: there is no command `{given}`. ")
    assert nearest in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("words", "status"), [("", 2), ("--help", 0), ("run", 2), ("zoo -h", 0)])
def test_without_a_command_there_is_an_overview(words, status, capsys):
    assert ended(*words.split()) == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("usage: keras-gappos")
    assert max(map(len, lines)) <= 80
    shown = [line.split("  ")[1] for line in lines if line.startswith("  ")]
    group = words.split()[0] if words and words[0] != "-" else ""
    assert shown == [command for command in cli.COMMANDS if command.startswith(group)]


def test_the_version(capsys):
    assert ended("--version") == 0
    assert capsys.readouterr().out == f"keras-gappos {__version__}\n"


def test_a_value_of_the_wrong_form_ends_without_markup(capsys):
    assert ended("run", "attack", "--size", "10") == 2
    error = capsys.readouterr().err
    assert "--size" in error
    assert "bold" not in error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--max-shift 0", "--max-shift must be at least 1. Received: max_shift=0"),
        ("--dataset diggits", "--dataset must be 'digits', 'shapes' or"),
        ("--dataset digits --max-shift 8", "--max-shift must be smaller than the image"),
    ],
)
def test_errors_name_the_flag(flags, message, capsys, tmp_path):
    output = ["--output-dir", str(tmp_path)]
    assert cli.main(["run", "invariance", *output, *flags.split()]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "`" not in error
