"""Before Keras is imported: a backend that is installed, and a command line without log lines."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pathlib
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator

BACKENDS = ("tensorflow", "jax", "torch")
LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_QUIET = "3"
# What TensorFlow, XLA and absl log while they are imported; "F" (fatal) is not among it.
_LOG_LINE = re.compile(
    r"[IWE]\d{4} |\d{4}-\d\d-\d\d [\d:.]+: [IWE] |WARNING: All log messages before absl::"
    r"|To enable the following instructions: "
)


def is_command_line(argv: list[str], original: list[str]) -> bool:
    """Whether this process runs `keras-gappos` or `python -m keras_gappos`.

    The package's `__init__` needs to know before it imports Keras, and so before any code of
    `keras_gappos.cli` can run.

    Args:
        argv: `sys.argv`.
        original: `sys.orig_argv`, which still has the interpreter's own options.
    """
    if pathlib.PurePath(argv[0] if argv else "").stem == "keras-gappos":
        return True
    module = original[original.index("-m") + 1 :][:1] if "-m" in original else []
    return bool(module) and module[0].split(".")[0] == "keras_gappos"


def choose_backend() -> None:
    """Sets `KERAS_BACKEND` to an installed backend where Keras would look for a missing one.

    Keras takes TensorFlow unless `KERAS_BACKEND` or `keras.json` names another one.

    Raises:
        ImportError: if no backend is installed, or the one that `KERAS_BACKEND` names is not. The
            command line ends in one line instead.
    """
    named = os.environ.get("KERAS_BACKEND")
    backend = named or _configured_backend() or BACKENDS[0]
    if "keras" in sys.modules or backend not in BACKENDS or _is_installed(backend):
        return
    installed = [name for name in BACKENDS if _is_installed(name)]
    if installed and not named:
        os.environ["KERAS_BACKEND"] = installed[0]
        return
    found = f"KERAS_BACKEND={named}, which is not installed" if named else "no installed one"
    message = (
        "Keras needs a backend: pip install 'keras-gappos[tensorflow]' or 'keras-gappos[jax]'. "
        f"Received: {found}"
    )
    if is_command_line(sys.argv, sys.orig_argv):
        raise SystemExit(f"keras-gappos: {message}")
    raise ImportError(message)


def _is_installed(module):
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # hidden, as tests do
        return False


def _configured_backend():
    folder = pathlib.Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    try:
        return json.loads((folder / "keras.json").read_text()).get("backend")
    except (OSError, ValueError, AttributeError):
        return None


@contextlib.contextmanager
def quiet_command_line() -> Iterator[None]:
    """Hides TensorFlow's log while the command line imports it; does nothing in a library.

    Some of the lines are written before TensorFlow reads `TF_CPP_MIN_LOG_LEVEL`, so file descriptor
    2 is redirected as well. All other output is shown afterwards, and everything is shown if the
    import fails. A user who sets `TF_CPP_MIN_LOG_LEVEL` to 0, 1 or 2 sees the log.
    """
    is_quiet = is_command_line(sys.argv, sys.orig_argv) and (
        os.environ.setdefault(LOG_LEVEL, _QUIET) == _QUIET  # workers inherit it
    )
    if not is_quiet:
        yield
        return
    # What newer JAX says of int64 labels, whose shapes Keras traces.
    warnings.filterwarnings("ignore", "Explicitly requested dtype int64")
    with _captured_stderr(_LOG_LINE):
        yield


@contextlib.contextmanager
def _captured_stderr(hidden):
    try:
        stderr = os.dup(2)
    except OSError:  # closed by the caller
        yield
        return
    with tempfile.TemporaryFile() as capture:
        os.dup2(capture.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            if sys.stderr is not None:
                sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            capture.seek(0)
            for line in capture.read().decode(errors="replace").splitlines(keepends=True):
                if failed or not hidden.match(line):
                    os.write(2, line.encode())
