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

from keras_gappos.experiments.engine.devices import ONE_DEVICE
from keras_gappos.files import check_same_run, replacing
from keras_gappos.version import __version__

# Where files lie, and what the figure looks like, is no part of a result.
_NO_PART_OF_A_RESULT = ("data_dir", "output_dir", "show_images", "workers", "tensorboard")
# A run may resume on other devices.
ONLY_HOW_IT_IS_COMPUTED = ("distribute", "jit_compile")


class ResultFolder:
    """A folder with `results.json`, written anew after every finished row.

    Args:
        path: the folder; made if it is missing. Backups of what is under way go into `backup`,
            a path that differs with the settings.
        experiment: name of the experiment.
        settings: the experiment's settings, a dataclass. Rows that are there already must come
            from the same settings.
        extendable: names of settings, tuples, to which values may be added later; the file records
            all values requested so far, and the command that gives all of them.
        devices: the `Devices` that the rows are made on. Of several processes only the chief has
            the folder; the others have the same rows, and their `path` is a temporary folder.

    Raises:
        OSError: if the folder cannot be made or written.
        ValueError: if the folder holds the results of other settings, or a damaged file; if
            processes have different settings.
    """

    def __init__(self, path, experiment, settings, extendable=(), devices=ONE_DEVICE):
        self.devices = devices
        self.path = self._given = pathlib.Path(path).expanduser()
        if not devices.is_chief:
            self._temporary = tempfile.TemporaryDirectory(prefix="keras-gappos-")
            self.path = pathlib.Path(self._temporary.name)
        self._file = self.path / "results.json"
        alike = {"version": __version__, **recorded_settings(dataclasses.asdict(settings))}
        devices.check_alike(json.dumps(alike), "version and settings")
        found = devices.from_chief(self._read)
        settings = _extended(settings, extendable, (found or {}).get("settings"))
        self.content = {
            "experiment": experiment,
            "command": command_line(experiment, settings),
            "settings": recorded_settings(dataclasses.asdict(settings)),
            "environment": environment(devices.replicas),
            "rows": [],
        }
        if found is not None:
            self._take_over(found, extendable, recorded_settings(_defaults(settings)))
        free = (*extendable, *ONLY_HOW_IT_IS_COMPUTED)
        fixed = {k: v for k, v in self.content["settings"].items() if k not in free}
        digest = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode())
        self.backup = self.path / "backup" / digest.hexdigest()[:12]

    @contextlib.contextmanager
    def lock(self):
        """Keeps other processes from writing into the folder at the same time.

        Raises:
            OSError: if another process is at it.
        """
        lock = filelock.FileLock(self.path / ".lock")
        self.devices.from_chief(lambda: self._acquire(lock))
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
        self.hold([row])
        self._write()

    def put(self, rows):
        """Puts these rows in the place of all, and writes `results.json`."""
        self.content["rows"] = rows
        self._write()

    def hold(self, rows):
        """Adds rows, as `add` does, that are on disk with the next one that is added."""
        here = environment(self.devices.replicas)  # not that of the process that began the file
        made_on = {"backend": here["backend"], "device": here["device"]}
        self.rows.extend({**row, **made_on} for row in rows)

    def _write(self):
        with replacing(self._file) as temporary:
            temporary.write_text(json.dumps(self.content, indent=1) + "\n")

    def _read(self):
        _check_writable(self.path)
        return read_results(self._file) if self._file.exists() else None

    def _acquire(self, lock):
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise OSError(
                f"Another process is writing into `output_dir` {self.path}. Wait for it, or choose "
                "another folder."
            ) from error

    def _take_over(self, content, extendable, defaults):
        grown = {name: self.content["settings"][name] for name in extendable}
        if isinstance(content.get("settings"), dict):
            # A setting that the file does not have yet was what its default is.
            content["settings"] = {**defaults, **content["settings"], **grown}
        complaint = f"`output_dir` {self._given} holds results of other settings"
        experiments = ({"experiment": c.get("experiment")} for c in (content, self.content))
        check_same_run(*experiments, complaint)
        check_same_run(content.get("settings"), self.content["settings"], complaint)
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


def command_line(experiment, settings):
    """The command that gives these results again; `DATA_DIR` stands for the data's folder."""
    data_dir = None if settings.data_dir is None else "DATA_DIR"
    words = ["keras-gappos", *([] if experiment == "tune" else ["run"]), experiment]
    return shlex.join(words + flags_of(settings, data_dir=data_dir, output_dir=None))


def flags_of(settings, **instead):
    """The flags of the command line that give these settings.

    Args:
        settings: an experiment's settings, a dataclass.
        **instead: values for some of them; `None` leaves the flag out.

    Returns:
        A list of strings.
    """
    words = []
    for field in dataclasses.fields(settings):
        value = instead.get(field.name, getattr(settings, field.name))
        if value == field.default or (value is None and field.name in instead):
            continue
        flag = "--" + field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        else:
            words += [flag, *map(str, value if isinstance(value, tuple) else [value])]
    return words


def environment(replicas=1):
    """What a result depends on besides its settings: versions, backend, kind of device.

    Args:
        replicas: number of devices that it is made on.
    """
    backend = keras.backend.backend()
    device = _device_kind(backend)
    return {
        "keras_gappos": __version__,
        "keras": keras.__version__,
        "backend": f"{backend} {__import__(backend).__version__}",
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": device if replicas == 1 else f"{replicas} x {device}",
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


def recorded_settings(settings):
    """A dictionary of settings as JSON would give it back, without the places of files."""
    values = {k: v for k, v in settings.items() if k not in _NO_PART_OF_A_RESULT}
    return json.loads(json.dumps(values))


def _defaults(settings):
    fields = dataclasses.fields(settings)
    return {
        field.name: field.default for field in fields if field.default is not dataclasses.MISSING
    }


def _extended(settings, extendable, recorded):
    """The settings with the values that a results file has recorded for the extendable ones."""
    if not isinstance(recorded, dict):
        return settings
    values = {}
    for field in dataclasses.fields(settings):
        if field.name in extendable:
            asked = {*getattr(settings, field.name), *recorded.get(field.name, ())}
            # In the default's order, whichever was requested first.
            order = dict.fromkeys((*field.default, *sorted(asked)))
            values[field.name] = tuple(value for value in order if value in asked)
    return dataclasses.replace(settings, **values)


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
