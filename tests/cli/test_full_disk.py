"""On a full disk every command ends in one line, leaves whole files, and resumes with room."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys

import h5py
import pytest

from keras_gappos.cli.main import main
from tests.zoo.entries import add_files, permutenet_entry

resource = pytest.importorskip("resource")  # not on Windows

TINY = "--dataset digits --train-images 64 --epochs 2 --output-dir"
RUN = f"run location --grids 1 --tasks location --networks gapnet --width 2 {TINY}".split()
TUNE = f"tune --space width=8 batch_size=32 --tuner random --trials 1 {TINY}".split()


@contextlib.contextmanager
def room(limit):
    """Files of at most `limit` bytes; Python ignores the signal, so that writing raises EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def check_files(folder):
    """All files are whole, and nothing temporary is left."""
    for path in folder.rglob("*"):
        if path.is_file() and path.name != ".lock":
            assert not path.name.startswith("."), path
            if path.suffix == ".h5":
                h5py.File(path).close()
            if path.suffix == ".json":
                json.loads(path.read_text())


def check_message(error, status):
    assert status == 1
    assert "Traceback" not in error
    assert error.splitlines()[-1].startswith("keras-gappos: ")
    assert "room" in error.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("command", [RUN, TUNE], ids=["run", "tune"])
def test_a_full_disk_ends_in_one_line_and_the_command_resumes(tmp_path, capsys, command):
    with room(20_000):  # enough for JSON, too little for weights
        status = main([*command, str(tmp_path)])
    check_message(capsys.readouterr().err, status)
    check_files(tmp_path)
    assert main([*command, str(tmp_path)]) == 0
    check_files(tmp_path)
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert row.get("status", "COMPLETED") == "COMPLETED"


@pytest.mark.slow
def test_python_ends_in_order_after_a_full_disk(tmp_path):
    code = (
        "import resource, sys; from keras_gappos.cli.main import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1)); sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, *RUN, str(tmp_path)]
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=os.environ)
    check_message(done.stderr, done.returncode)
    check_files(tmp_path)


def test_a_model_of_the_zoo_is_fetched_whole_or_not_at_all(zoo_folder, register, tmp_path, capsys):
    register(model := add_files(zoo_folder, permutenet_entry()))
    command = ["zoo", "fetch", model.name, "--format", "weights"]
    with room(model.files["weights"].bytes - 1):
        status = main(command)
    check_message(capsys.readouterr().err, status)
    assert not list((tmp_path / "cache").rglob("*weights.h5"))
    assert main(command) == 0
    assert list((tmp_path / "cache").rglob("*weights.h5"))
