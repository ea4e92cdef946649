"""Searches AugShift's settings with KerasTuner.

Trials are scored on held-out training images. `keras-gappos tune` searches on the embedded digits.
On CIFAR-10:

    keras-gappos tune --dataset cifar10 --data-dir DATA_DIR --train-images 10000 --space width=16

The test images are never read. The last line of output is the command that trains the best settings
at full length.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sys

import keras
from rich.console import Console

from keras_gappos.experiments.engine.data import load_training_images
from keras_gappos.experiments.engine.devices import dtype_policy, use_devices
from keras_gappos.experiments.engine.display import RunDisplay
from keras_gappos.experiments.engine.results import (
    ONLY_HOW_IT_IS_COMPUTED,
    ResultFolder,
    flags_of,
    read_results,
    recorded_settings,
)
from keras_gappos.experiments.tune.progress import SearchWatch
from keras_gappos.experiments.tune.report import make_table, write_report
from keras_gappos.experiments.tune.settings import TuneSettings
from keras_gappos.tuning.augshift import AUGSHIFT_SPACE, AugShiftHyperModel
from keras_gappos.tuning.hypermodel import check_batch_sizes
from keras_gappos.tuning.resumable.chief import free_port, heartbeat, serve, wait_for_chief
from keras_gappos.tuning.resumable.role import Role, find_role
from keras_gappos.tuning.resumable.workers import (
    SHARED_MEMORY,
    LocalWorkers,
    command_of,
    worker_folder,
)
from keras_gappos.tuning.space import narrow, parse_space
from keras_gappos.tuning.tuner import count_epochs, make_tuner

_START_TIMEOUT = 300.0  # seconds to wait for a chief that loads its data
_TIMEOUT, _LOCAL_TIMEOUT = 60.0, 10.0  # seconds to wait for it later
_VALIDATION_SHARE, _MAX_VALIDATION, _MAX_CONSISTENCY = 5, 2000, 1000


def run(settings: TuneSettings, console: Console | None = None) -> dict | None:
    """Runs the trials that are not yet in the output folder, and writes the table and the figure.

    KerasTuner's environment variables may make this process a worker, which trains assigned trials
    and writes no results, or the chief, which trains nothing itself.

    Args:
        settings: a `TuneSettings`.
        console: a `rich.console.Console` to show progress on, or `None` for standard output.

    Returns:
        The content of `results.json`; `None` in a worker. A row per finished trial: a dictionary
        with `trial` (its number), `status` ("COMPLETED" or "FAILED"), `settings`, `epochs`,
        `initial_epoch` and `continues` (the trial it resumed, or `None`), `val_accuracy` and
        `val_shift_consistency` and `score` in percent, `num_predicted_classes`, `seconds`,
        `starts`, `worker`, `started`, and the `message` of a failed trial.

    Raises:
        ValueError: if the data do not fit the settings, or the output folder has another search.
        OSError: if the output folder cannot be written, a worker cannot reach its chief, or the
            chief cannot listen.
        RuntimeError: if the first trials all fail.
    """
    role = find_role()
    if role and settings.workers:
        raise ValueError(
            "`workers` starts all processes of a search: set it, or KERASTUNER_TUNER_ID and the "
            f"chief's address, but not both. Received: workers={settings.workers}, {role}"
        )
    if settings.workers:
        for name, value in SHARED_MEMORY.items():  # this process hardly uses the GPUs
            os.environ.setdefault(name, value)
    devices = _devices(settings)
    _check(settings, devices)
    with dtype_policy(settings.precision):
        if role and not role.is_chief:
            _work(settings, role, devices)
            return None
        return _lead(settings, role, devices, console)


def _devices(settings):
    devices = use_devices(settings.distribute)
    if devices.processes > 1:
        raise ValueError(
            "A search distributes trials among machines, not a trial's batches: start a chief and "
            "workers with KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT. "
            f"Received: a JAX cluster of {devices.processes} processes"
        )
    if settings.distribute == "jax" and (settings.validation_images or 0) % devices.replicas:
        raise ValueError(
            "`validation_images` must be a multiple of the number of devices, which share each "
            f"batch. Received: validation_images={settings.validation_images}, {devices.replicas} "
            "devices"
        )
    if settings.tensorboard and keras.backend.backend() != "tensorflow":
        raise ValueError(
            "`tensorboard` needs the TensorFlow backend: set KERAS_BACKEND=tensorflow. Received: "
            f"{keras.backend.backend()}"
        )
    return devices


def _check(settings, devices):
    """Raises a `ValueError` for settings that fit no data, before any data are loaded."""
    named = parse_space(settings.space)
    space = narrow(AUGSHIFT_SPACE, named)
    sizes = space["batch_size"].values if "batch_size" in named else ()
    for size in sizes:
        devices.check_batch_size(size)
    if settings.train_images is not None:
        held_out = settings.validation_images or 1
        _check_held_out(held_out, settings.train_images)
        check_batch_sizes((1, *sizes), settings.train_images - held_out)


def _check_held_out(held_out, count):
    if held_out >= count:
        raise ValueError(
            "`validation_images` must leave images to train on. Received: validation_images="
            f"{held_out}, of {count} images"
        )


def _work(settings, role, devices):
    """Trains trials as a worker."""
    folder = _search_folder(settings)
    timeout = _LOCAL_TIMEOUT if role.is_local else _TIMEOUT
    print(
        f"keras-gappos: {role.name} waits up to {_START_TIMEOUT:.0f} seconds for the chief at "
        f"{role.target}.",
        file=sys.stderr,
        flush=True,
    )
    wait_for_chief(role, _START_TIMEOUT)
    with heartbeat(role, folder, timeout):
        settings, data = _load(settings, devices)
        tuner = _make_tuner(settings, data, devices)
        _search(settings, tuner, data, [], verbose=2)


def _lead(settings, role, devices, console):
    """Runs a search as its chief, or trains all trials in this process."""
    _check_folder(settings)
    settings, data = _load(settings, devices)
    folder = ResultFolder(settings.output_dir, "tune", settings)
    with folder.lock():
        epochs = count_epochs(settings.tuner, settings.trials, settings.epochs, settings.factor)
        with RunDisplay(sum(epochs), lambda rows: _table(settings, rows), console) as display:
            display.log(f"{len(epochs)} trials of {sum(epochs)} epochs in all")
            if role:
                display.log(f"the chief listens at {role.target}")
            watch = SearchWatch(folder, display, len(epochs))
            tuner = _make_tuner(settings, data, devices, watch.listen)
            watch.resume(tuner.oracle)
            if role or settings.workers:
                _serve(settings, role, tuner.oracle)
            else:
                _search(settings, tuner, data, [watch], verbose=0)
        write_report(folder.path, folder.content)
    return folder.content


def _check_folder(settings):
    """Raises a `ValueError` for the folder of another search, before any data are loaded."""
    recorded = pathlib.Path(settings.output_dir).expanduser() / "results.json"
    found = (recorded.exists() and read_results(recorded).get("settings")) or {}
    # The data decide on counts that are not given.
    counts = {
        name: found.get(name)
        for name in ("validation_images", "consistency_images")
        if getattr(settings, name) is None
    }
    ResultFolder(settings.output_dir, "tune", dataclasses.replace(settings, **counts))


def _serve(settings, role, oracle):
    folder = _search_folder(settings)
    if role:
        serve(oracle, role, folder)
        return
    role = Role("chief", "127.0.0.1", free_port())
    command = command_of(["tune", *flags_of(settings, workers=None)])
    gpus = None if settings.distribute == "none" else []  # each trial uses all of them
    logs = worker_folder(folder)
    with LocalWorkers(settings.workers, command, role, logs, oracle, gpus) as workers:
        serve(oracle, role, folder, poll=workers.poll)


def _search(settings, tuner, data, callbacks, verbose):
    if settings.tensorboard:
        logs = pathlib.Path(settings.output_dir).expanduser() / "tensorboard"
        callbacks = [*callbacks, keras.callbacks.TensorBoard(logs)]
    (images, labels), validation_data = data
    tuner.search(
        images, labels, validation_data=validation_data, callbacks=callbacks, verbose=verbose
    )


def _search_folder(settings):
    return pathlib.Path(settings.output_dir).expanduser() / "search"


def _load(settings, devices):
    """The settings with all image counts set, and (images, labels) for training and validation."""
    images, labels = load_training_images(settings)
    held_out = settings.validation_images
    if held_out is None:
        held_out = min(len(images) // _VALIDATION_SHARE, _MAX_VALIDATION)
        held_out = max(held_out - held_out % devices.replicas, 1)
    measured = settings.consistency_images or min(held_out, _MAX_CONSISTENCY)
    settings = dataclasses.replace(
        settings, validation_images=held_out, consistency_images=measured
    )
    _check_held_out(held_out, len(images))
    first_held_out = len(images) - held_out
    parts = slice(None, first_held_out), slice(first_held_out, None)
    return settings, [(images[part], labels[part]) for part in parts]


class _HyperModelOnDevices(AugShiftHyperModel):
    """Networks cloned to the devices of a distributed training."""

    devices = None

    def make_network(self, values):
        self.devices.check_batch_size(values["batch_size"])
        network = super().make_network(values)
        return network if self.devices.strategy is None else self.devices.clone(network)


def _make_tuner(settings, data, devices, listener=None):
    (images, labels), (_, test_labels) = data
    hypermodel = _HyperModelOnDevices(
        images.shape[1:],
        int(max(labels.max(), test_labels.max())) + 1,
        _space(settings, len(images)),
        settings.measure_shift,
        settings.consistency_images,
        settings.seed,
        settings.keras_jit_compile,
    )
    hypermodel.devices = devices
    hypermodel.checked(images, labels, data[1])  # before workers start
    return make_tuner(
        settings.tuner,
        hypermodel,
        settings.objective,
        _search_folder(settings),
        settings.trials,
        settings.epochs,
        settings.tolerance,
        settings.factor,
        settings.seed,
        listener,
        devices.strategy,
        _details(settings),
    )


def _space(settings, count):
    """What the flags leave of the search space; by default, batch sizes of at most `count`."""
    fitting = [size for size in AUGSHIFT_SPACE["batch_size"].values if size <= count]
    return {**({"batch_size": fitting} if fitting else {}), **parse_space(settings.space)}


def _details(settings):
    """The settings that identify the search, without defaults, which later versions may add to."""
    given, usual = (recorded_settings(dataclasses.asdict(s)) for s in (settings, TuneSettings()))
    return {
        name: value
        for name, value in given.items()
        if value != usual[name] and name not in ONLY_HOW_IT_IS_COMPUTED
    }


def _table(settings, rows):
    return make_table(rows, settings.objective, settings.tolerance)
