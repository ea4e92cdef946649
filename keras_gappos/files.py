"""Files that are never half-written, and whether a folder belongs to a run."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
import uuid
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path next to `path`, and moves it there if no error occurs."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Keras and matplotlib choose the format by the suffix. Process numbers are not unique on
    # folders that several machines share.
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | os.PathLike, content: object) -> None:
    """Writes `content` as JSON in one move: a kill leaves the old file or the new one."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content))


def number_or_none(value: float) -> float | None:
    """A number for JSON, which has no NaN: `None` for it."""
    return None if math.isnan(value) else float(value)


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
