"""Files that are never half-written."""

import contextlib
import json
import os
import pathlib
import uuid


@contextlib.contextmanager
def replacing(path):
    """Gives a temporary path beside `path`, and moves it there once all went well."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name's end is kept: Keras and matplotlib choose the format by it. Machines that share a
    # folder may have processes of the same number.
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path, content):
    """Writes `content` as JSON in one move: a kill leaves the old file or the new one."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content))
