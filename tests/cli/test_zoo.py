import io
import subprocess
import sys

import pytest
from rich.console import Console

from keras_gappos.cli import main as cli
from keras_gappos.cli import zoo as cli_zoo
from keras_gappos.zoo import Finding
from keras_gappos.zoo.cache import cached_path
from tests.zoo.entries import add_files, entry, permutenet_entry

LONG = "permutenet_resnet18.cifar10_location_3x3_w16"


@pytest.fixture
def offline(monkeypatch):
    import socket

    def refuse(*_):
        raise AssertionError("it went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def run(*flags):
    return cli.main(["zoo", *flags])


def test_list_shows_each_model_on_one_line(zoo_folder, register, capsys, offline):
    metrics = {"top1": 78.14, "consistency_random": 85.26, "worst_case": 61.0}
    model = add_files(zoo_folder, entry(metrics=metrics))
    register(model, permutenet_entry(LONG))
    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    (first,) = (line for line in lines if LONG in line)
    assert first.split() == [LONG, "31.5", "0.0", "location", "digits"]
    (second,) = (line for line in lines if "resnet18.digits " in line)
    megabytes = f"{model.files['weights'].bytes / 1e6:.1f}"
    assert second.split() == [
        *("resnet18.digits", "78.1", "85.3", megabytes),
        *("classification", "digits"),
    ]
    assert run("fetch", "resnet18.digits") == 0
    assert capsys.readouterr().out.strip() == str(cached_path(model.files["weights"]))
    assert run("list", "resnet*") == 0
    out = capsys.readouterr().out
    assert "* resnet18.digits" in out and LONG not in out


def test_models_are_described_without_a_cache(register, monkeypatch, tmp_path):
    model = entry()
    register(model)
    # A name so long that the system does not even answer whether it is there.
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", str(tmp_path / ("n" * 300)))
    assert [run("list"), run("info", model.name), run("verify")] == [0, 0, 0]


@pytest.mark.parametrize("width", [80, 120])
def test_list_cuts_no_name_however_long_and_splits_no_number(register, width):
    models = [entry(LONG), entry("deeplabv3.x", task="segmentation")]
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(cli_zoo.make_table(models, wide=width > 80))
    header, *rows = console.export_text().splitlines()[:3]
    assert header.split()[:6] == ["model", "score", "%", "shift", "%", "MB"]
    for model, row in zip(models, rows, strict=True):
        assert row.split()[:3] == [model.name, "90.0", "0.0"]


def test_a_pattern_that_matches_nothing(register, capsys):
    register(entry())
    assert run("list", "none*") == 1
    error = capsys.readouterr().err
    assert error.startswith("keras-gappos: PATTERN must match a model")
    assert "Received: none*" in error and error.count("\n") == 1


def test_info_tells_all_of_the_entry(register, capsys, offline):
    model = permutenet_entry()
    register(model)
    assert run("info", model.name) == 0
    text = capsys.readouterr().out
    facts = [model.name, model.command, model.data_license, model.results, model.commit[:12]]
    facts += ["31.5", "78.8", "a, b, c, d", "random by design", f'kg.zoo.load("{model.name}")']
    facts += ["kg.models.permutenet(depth=18, input_shape=(16, 16, 1), num_outputs=4", "seed: `7`"]
    facts += [model.files["weights"].sha256, "not cached", model.experiment, "keras 3"]
    assert [fact for fact in facts if fact not in text] == []


def test_info_on_a_terminal(register, monkeypatch):
    register(permutenet_entry())
    console = Console(width=80, force_terminal=True, record=True, file=io.StringIO())
    monkeypatch.setattr(cli_zoo, "Console", lambda: console)
    assert run("info", permutenet_entry().name) == 0
    text = console.export_text()
    assert "Scores" in text and "78.8" in text and "##" not in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("command", ["info", "fetch", "verify"])
@pytest.mark.parametrize("name", ["resnet18.digit", "../resnet18.digits"])
def test_an_unknown_name_ends_in_one_line(register, capsys, command, name):
    register(entry())
    assert run(command, name) == 1
    error = capsys.readouterr().err
    assert error.startswith("keras-gappos: ") and error.count("\n") == 1
    assert "Did you mean 'resnet18.digits'?" in error


def test_no_source_ends_in_one_line(register, capsys, monkeypatch, tmp_path):
    register(entry())
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_GAPPOS_ZOO", str(tmp_path))
    assert run("fetch", "resnet18.digits") == 1
    error = capsys.readouterr().err
    assert "Set KERAS_GAPPOS_ZOO to another folder" in error and error.count("\n") == 1


def test_verify_ends_with_status_1_where_a_file_is_damaged(zoo_folder, register, capsys):
    model = add_files(zoo_folder, entry())
    register(model)
    assert run("fetch", "resnet18.digits") == 0
    assert run("verify") == 0
    out = capsys.readouterr().out
    assert "weights  intact" in out and "sample  not cached" in out
    path = cached_path(model.files["weights"])
    path.write_bytes(b"damage")
    assert run("verify", "resnet18.digits") == 1
    out, error = capsys.readouterr()
    assert "weights  damaged: `keras-gappos zoo fetch resnet18.digits`" in out
    assert "1 of 2 checks failed" in error and error.count("\n") == 1
    assert run("fetch", "resnet18.digits") == 0
    warning = capsys.readouterr().err
    assert warning.startswith("keras-gappos: ") and "is damaged, and is fetched again" in warning
    assert warning.count("\n") == 1
    assert run("verify", "--reload") == 0
    assert "kg.zoo.load  same outputs" in capsys.readouterr().out


def test_a_complaint_names_each_model_once():
    findings = [Finding(name, "weights", "damaged") for name in ("a.x", "a.x", "b.x")]
    text = cli_zoo.complain([*findings, Finding("c.x", "weights", "intact")])
    assert text == "3 of 4 checks failed, for a.x, b.x: see above."
    assert cli_zoo.complain([]) == ""


@pytest.mark.parametrize("command", ["list", "info", "fetch", "verify"])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as end:
        run(command, "--help")
    assert end.value.code == 0
    assert f"keras-gappos zoo {command}" in capsys.readouterr().out


OFFERED = """
import sys
import keras
before = set(sys.modules)
import keras_gappos as kg
assert callable(kg.zoo.list_models)
print(sorted({"pooch", "requests", "platformdirs", "filelock"} & set(sys.modules) - before))
"""


@pytest.mark.slow
def test_the_package_has_the_zoo_and_imports_its_transport_only_where_it_is_used():
    done = subprocess.run([sys.executable, "-c", OFFERED], capture_output=True, text=True)
    assert done.stdout.strip().splitlines()[-1] == "[]", done.stderr
