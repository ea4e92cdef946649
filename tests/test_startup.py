"""The command line starts quietly, and hides nothing but TensorFlow's log."""

import os
import subprocess
import sys

import pytest

from keras_gappos.startup import _LOG_LINE, _captured_stderr, is_command_line

NATIVE = "I0000 00:00:1795809953.834201   16062 cudart_stub.cc:31] Could not find cuda drivers"


def start(*arguments, level=None):
    """Runs Python with the given TensorFlow log level, by default without one."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    if level is not None:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    ("arguments", "first"),
    [(["zoo", "list"], "  model "), (["demo", "--help"], "usage: keras-gappos demo")],
)
def test_the_first_line_is_ours(arguments, first):
    done = start("-m", "keras_gappos", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(first)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_first_computation_is_quiet_too():
    code = """
import sys

sys.argv[0] = "keras-gappos"
from keras_gappos.cli import main, zoo

def compute():
    import keras

    keras.ops.ones(1)

main.COMMANDS["zoo list"] = compute
main.main(["zoo", "list"])
"""
    assert start("-c", code).stderr == ""


@pytest.mark.parametrize("words", [["--version"], ["run", "location", "--help"], ["zoo", "lst"]])
def test_nothing_heavy_is_imported_where_nothing_is_run(words):
    code = f"""
import sys

sys.argv = ["keras-gappos", *{words}]
from keras_gappos.cli.main import main

try:
    main()
finally:
    heavy = {{"keras", "tensorflow", "jax", "torch", "scipy", "sklearn", "matplotlib"}}
    print("imported", sorted(heavy & set(sys.modules)))
"""
    assert start("-c", code).stdout.splitlines()[-1] == "imported []"


@pytest.mark.tensorflow
@pytest.mark.slow
def test_a_user_may_ask_for_the_log():
    import tensorflow as tf

    alone = start("-c", "import tensorflow", level="0").stderr
    assert alone, f"TensorFlow {tf.__version__} logs nothing: this test needs another sign"
    assert "cc:" in start("-m", "keras_gappos", "zoo", "list", level="0").stderr


def test_which_processes_are_the_command_line():
    assert is_command_line(["/usr/bin/keras-gappos", "demo"], ["python", "/usr/bin/keras-gappos"])
    assert is_command_line(["keras-gappos.exe"], ["keras-gappos.exe"])
    assert is_command_line(["-m"], ["python", "-m", "keras_gappos", "demo"])
    assert is_command_line(["-m"], ["python", "-X", "dev", "-m", "keras_gappos.cli.main"])
    for original in (["python", "train.py"], ["python", "-m", "pytest"], ["python", "-m"]):
        assert not is_command_line(original[1:], original)
    assert not is_command_line([], [])


def test_only_log_lines_are_hidden(capfd):
    with _captured_stderr(_LOG_LINE):
        os.write(2, f"{NATIVE}\nF0000 a fatal error\nUserWarning: mind this\n".encode())
        print("from Python", file=sys.__stderr__, flush=True)
    assert "cudart" not in (shown := capfd.readouterr().err)
    assert "a fatal error" in shown and "mind this" in shown


def test_a_failed_import_shows_everything(capfd):
    with pytest.raises(ImportError, match="no such module"), _captured_stderr(_LOG_LINE):
        os.write(2, f"{NATIVE}\n".encode())
        raise ImportError("no such module")
    assert capfd.readouterr().err == f"{NATIVE}\n"
