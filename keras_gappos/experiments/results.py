"""The folder of an experiment's results: rows on disk as soon as they are known."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import platform
import shlex
import tempfile

import filelock
import keras
import numpy as np

from keras_gappos.version import __version__

# Where files lie, and what the figure looks like, is no part of a result.
_NO_PART_OF_A_RESULT = ("data_dir", "output_dir", "show_images")


class ResultFolder:
    """A folder with `results.json`, written anew after every finished row.

    Args:
        path: the folder; made if it is missing. Backups of what is under way go into `backup`,
            a path that differs with the settings.
        experiment: name of the experiment.
        settings: the experiment's settings, a dataclass. Rows that are there already must come
            from the same settings.
        extendable: names of settings, tuples, to which values may be added later; the file records
            what has been asked for so far, and the command that gives all of it.

    Raises:
        OSError: if the folder cannot be made or written.
        ValueError: if the folder holds the results of other settings, or a damaged file.
    """

    def __init__(self, path, experiment, settings, extendable=()):
        self.path = pathlib.Path(path).expanduser()
        self._file = self.path / "results.json"
        _check_writable(self.path)
        found = read_results(self._file) if self._file.exists() else None
        settings = _extended(settings, extendable, (found or {}).get("settings"))
        self.content = {
            "experiment": experiment,
            "command": command_line(experiment, settings),
            "settings": _recorded(settings),
            "environment": environment(),
            "rows": [],
        }
        if found is not None:
            self._take_over(found, extendable)
        fixed = {k: v for k, v in self.content["settings"].items() if k not in extendable}
        digest = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode())
        self.backup = self.path / "backup" / digest.hexdigest()[:12]

    @contextlib.contextmanager
    def lock(self):
        """Keeps other processes from writing into the folder at the same time.

        Raises:
            OSError: if another process is at it.
        """
        lock = filelock.FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise OSError(
                f"Another process is writing into `output_dir` {self.path}. Wait for it, or choose "
                "another folder."
            ) from error
        try:
            yield
        finally:
            lock.release()

    @property
    def rows(self):
        """The finished rows, a list of dictionaries."""
        return self.content["rows"]

    def find(self, **key):
        """The finished row with these entries, or `None`."""
        return find_row(self.rows, key)

    def add(self, row):
        """Adds a row, with the backend and device it was made on, and writes `results.json`."""
        here = environment()  # not that of the process that began the file
        self.rows.append({**row, "backend": here["backend"], "device": here["device"]})
        with replacing(self._file) as temporary:
            temporary.write_text(json.dumps(self.content, indent=1) + "\n")

    def _take_over(self, content, extendable):
        grown = {name: self.content["settings"][name] for name in extendable}
        if isinstance(content.get("settings"), dict):
            content["settings"].update(grown)
        for entry in ("experiment", "settings"):
            ours, theirs = self.content[entry], content.get(entry)
            if ours != theirs:
                raise ValueError(
                    f"`output_dir` {self.path} holds results of other settings: "
                    f"{_difference(theirs, ours)}. Choose another folder, or the same settings."
                )
        if grown:
            content["command"] = self.content["command"]
        self.content = content


def find_row(rows, key):
    """The first of `rows` with the entries of the dictionary `key`, or `None`."""
    return next((row for row in rows if key.items() <= row.items()), None)


def read_results(path):
    """Reads a `results.json`; a `ValueError` says so if it is none."""
    try:
        content = json.loads(pathlib.Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is not a results file: {error}. Remove it, or restore it."
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("rows"), list):
        raise ValueError(f"{path} is not a results file: it has no rows. Remove it, or restore it.")
    return content


@contextlib.contextmanager
def replacing(path):
    """Gives a temporary path beside `path`, and moves it there once all went well."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name's end is kept: Keras and matplotlib choose the format by it.
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def command_line(experiment, settings):
    """The command that gives these results again; `DATA_DIR` stands for the data's folder."""
    words = ["keras-gappos", "run", experiment]
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value == field.default or field.name == "output_dir":
            continue
        flag = "--" + field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif field.name == "data_dir":
            words += [flag, "DATA_DIR"]
        else:
            words += [flag, *map(str, value if isinstance(value, tuple) else [value])]
    return shlex.join(words)


def environment():
    """What a result depends on besides its settings: versions, backend, kind of device."""
    backend = keras.backend.backend()
    return {
        "keras_gappos": __version__,
        "keras": keras.__version__,
        "backend": f"{backend} {__import__(backend).__version__}",
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": _device_kind(backend),
    }


def _device_kind(backend):
    cpu = f"CPU, {os.cpu_count()} cores"
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        return cpu if device.platform == "cpu" else device.device_kind
    if backend == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        return tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else cpu
    if backend == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else cpu
    return cpu


def _recorded(settings):
    """The settings as JSON would give them back, without the places of files."""
    values = {
        k: v for k, v in dataclasses.asdict(settings).items() if k not in _NO_PART_OF_A_RESULT
    }
    return json.loads(json.dumps(values))


def _extended(settings, extendable, recorded):
    """The settings with the values that a results file has recorded for the extendable ones."""
    if not isinstance(recorded, dict):
        return settings
    values = {}
    for field in dataclasses.fields(settings):
        if field.name in extendable:
            asked = {*getattr(settings, field.name), *recorded.get(field.name, ())}
            # In the default's order, so that it does not matter which was asked for first.
            values[field.name] = tuple(value for value in field.default if value in asked)
    return dataclasses.replace(settings, **values)


def _difference(theirs, ours):
    if not isinstance(theirs, dict) or not isinstance(ours, dict):
        return f"{theirs!r} there, {ours!r} here"
    keys = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
    return "; ".join(f"{key} is {theirs.get(key)} there, {ours.get(key)} here" for key in keys)


def _check_writable(path):
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OSError(
            f"`output_dir` must be a folder that can be written. Received: output_dir={path} "
            f"({error.strerror})"
        ) from error
