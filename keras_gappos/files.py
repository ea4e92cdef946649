"""Files that are never half-written, and whether a folder belongs to a run."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import pathlib
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk, a quota or a limit of file sizes has no room left."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path next to `path`, and moves it there if no error occurs.

    Raises:
        OSError: if it cannot be written; of a full disk, the message says what to do.
    """
    path = pathlib.Path(path)
    # Keras and matplotlib choose the format by the suffix. Process numbers are not unique on
    # folders that several machines share.
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if not is_full(error):
            raise
        advice = f"No room to write {path}. Free some and try again: all files are whole"
        raise OSError(error.errno, advice) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike, content: bytes | memoryview) -> None:
    """Writes a file in one move."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | os.PathLike, content: object) -> None:
    """Writes `content` as JSON in one move: a kill leaves the old file or the new one."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content))


def number_or_none(value: float) -> float | None:
    """A number for JSON, which has no NaN: `None` for it."""
    return None if math.isnan(value) else float(value)


class _NamedBuffer(io.BytesIO):
    """A file in memory, whose name `keras.Model.save_weights` accepts."""

    def __str__(self):
        return "buffer.weights.h5"


def weights_in_memory(model: keras.Model) -> io.BytesIO:
    """A model's weights, and its optimizer's if it is compiled, as HDF5 in memory.

    h5py cannot close a file on a full disk, and Python then crashes when it ends. `write_bytes`
    puts the content into a file, from which `model.load_weights` reads it.
    """
    buffer = _NamedBuffer()
    model.save_weights(buffer)
    return buffer


def check_same_run(found: object, asked: dict, complaint: str) -> None:
    """Checks that the settings recorded in a folder are those of this run.

    Args:
        found: the recorded settings, as read from JSON.
        asked: this run's settings, a dictionary.
        complaint: how the error message begins.

    Raises:
        ValueError: if they differ; the message lists the differences.
    """
    found = found if isinstance(found, dict) else {}
    asked = json.loads(json.dumps(asked))
    names = [name for name in {**found, **asked} if found.get(name) != asked.get(name)]
    if names:
        difference = "; ".join(
            f"{name} is {found.get(name, 'not set')} there, {asked.get(name, 'not set')} here"
            for name in names
        )
        raise ValueError(f"{complaint}: {difference}. Choose another folder, or the same settings.")
