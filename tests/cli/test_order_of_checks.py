"""Wrong settings end a command before it loads data, which may take a download."""

import json
import pathlib
import shutil

import pytest

from keras_gappos import data
from keras_gappos.cli.main import main

RESULTS = pathlib.Path(__file__).parents[2] / "examples/results"


@pytest.fixture
def loaded(monkeypatch):
    """The names of the data sets that were asked for."""
    names = []

    def load(name, *_, **__):
        names.append(name)
        raise FileNotFoundError("no network")

    monkeypatch.setattr(data, "load", load)
    return names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("tune --space width=0", "--space width must be integers of at least 1"),
        ("tune --space widht=8", "Did you mean 'width'"),
        ("tune --space width", "NAME=LOW:HIGH"),
        ("tune --space downsampling=max", "--space downsampling must be in"),
        ("tune --train-images 90 --validation-images 90", "--validation-images must leave"),
        ("tune --train-images 90 --space batch_size=90", "batch_size of up to 90, 89 images"),
        ("run location --train-images 8 --batch-size 16", "at least one batch"),
        ("run invariance --train-images 2000 --validation-images 2000", "must fit into"),
        ("run attack --train-images 1 --batch-size 2", "at least one batch"),
        ("run attack --width 4 --counts 999", "--counts must be in [0, 32]"),
        ("run probe --width 4 --counts 999", "--counts must be in [0, 32]"),
        ("demo --seed -1", "--seed must be in"),
        ("zoo score resnet18.cifar", "NAME must be a model of the zoo"),
    ],
)
def test_wrong_settings_are_told_before_data_are_loaded(words, message, loaded, tmp_path, capsys):
    words = words.split()
    if words[0] in ("tune", "run"):
        words += ["--dataset", "cifar10", "--output-dir", str(tmp_path / "results")]
    assert main(words) == 1
    assert message in capsys.readouterr().err
    assert not loaded


def test_a_folder_of_another_search_is_told_before_data_are_loaded(loaded, tmp_path, capsys):
    folder = tmp_path / "results"
    shutil.copytree(RESULTS / "tuning/cifar10", folder)
    recorded = json.loads((folder / "results.json").read_text())["command"].split()[1:]
    words = [*recorded, "--output-dir", str(folder)]
    assert main([*words, "--seed", "7"]) == 1
    assert "seed is 0 there, 7 here" in capsys.readouterr().err
    assert not loaded
    assert main(words) == 1  # the same search: it resumes
    assert loaded == ["cifar10"]


@pytest.mark.parametrize("command", ["tune --space width=24 batch_size=16", "run location"])
def test_right_settings_come_to_the_data(command, loaded, tmp_path):
    folder = str(tmp_path / "results")
    assert main([*command.split(), "--dataset", "cifar10", "--output-dir", folder]) == 1
    assert loaded == ["cifar10"]
