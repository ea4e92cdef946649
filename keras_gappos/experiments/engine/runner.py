"""One row after the other: each is trained with backups, scored, and put on disk."""

import dataclasses
import shutil

import keras
from rich.console import Console

from keras_gappos.experiments.engine.checkpoint import EpochBackup
from keras_gappos.experiments.engine.display import RunDisplay
from keras_gappos.files import replacing
from keras_gappos.interrupts import EndAtInterrupt


@dataclasses.dataclass(frozen=True)
class Job:
    """One row to make.

    Attributes:
        key: the row's entries that tell it from the others, a dictionary.
        name: what the log calls it.
        work: how long it takes, in any unit.
    """

    key: dict
    name: str
    work: float


def run_jobs(folder, jobs, make_row, summarize, report, make_table, console=None):
    """Makes the rows that are not in the folder yet, and a report after each.

    Args:
        folder: a locked `ResultFolder`.
        jobs: `Job`s, in order.
        make_row: function of `(job, display)` that trains, scores and returns the row; the
            `RunDisplay` is to be moved on by the job's work.
        summarize: function of a row that gives its result in a few words, for the log.
        report: function of nothing that writes table and figure from the folder's rows.
        make_table: function of rows that gives a `rich.table.Table` to watch.
        console: a `rich.console.Console` to show progress on, or `None` for standard output. Of
            several processes only the chief shows anything, and its rows are those of all.
    """
    devices, console = folder.devices, console or Console()
    console.quiet = console.quiet or not devices.is_chief
    with RunDisplay(sum(job.work for job in jobs), make_table, console) as display:
        for job in jobs:
            display.show(folder.rows, job.name)
            if folder.find(**job.key):
                display.log(f"{job.name}: finished earlier")
                display.skip(job.work)
                continue
            row = make_row(job, display)
            folder.add(devices.from_chief(lambda row=row: row))
            if devices.is_chief:
                report()
            shutil.rmtree(_backup_dir(folder, job), ignore_errors=True)
            display.log(f"{job.name}: {summarize(row)} in {row['seconds']:.0f} s")
    if devices.is_chief:
        report()


def fit_with_backup(
    network, compiled, folder, job, display, batches, epoch_work, epochs, callbacks
):
    """Trains the epochs that are not in the job's backup yet, on the folder's devices.

    Args:
        network: the network to be trained; it has its weights in the end, on one device.
        compiled: function of such a network that gives a compiled model of it, to be fitted.
        folder, job, display: as in `run_jobs`.
        batches: shuffled training batches, with a `callback` that starts their epochs, such as
            `TrainingBatches`; or, for one process, a dictionary of the data that `fit` takes.
        epoch_work: work of one epoch, of which an earlier run may have done some.
        epochs: when to end, in epochs from the start.
        callbacks: Keras callbacks; a backup is made after they have seen an epoch's end.

    Returns:
        The `EpochBackup`, which knows the epochs and the time.
    """
    devices = folder.devices
    data, starting = batches, []
    if not isinstance(batches, dict):
        # Keras' own shuffling is left out, which no seed of ours tells.
        data, starting = {"x": devices.part(batches), "shuffle": False}, [batches.callback]
    with devices.training(network) as copy:
        model = compiled(copy)
        backup = EpochBackup(_backup_dir(folder, job), model, devices)
        display.skip(epoch_work * backup.epochs)
        if not backup.stopped:
            model.fit(
                **data,
                initial_epoch=backup.epochs,
                epochs=epochs,
                verbose=0,
                callbacks=[*starting, *callbacks, backup, EndAtInterrupt()],
            )
    display.skip(epoch_work * (epochs - backup.epochs))
    return backup


def save_weights(network, folder, name):
    """Saves a network's weights in the folder; returns the file's path inside of it."""
    weights = f"weights/{name}.weights.h5"
    # A model that was compiled would save its optimizer, too, which is as large as the weights.
    uncompiled = keras.Model(network.inputs, network.outputs)
    with replacing(folder.path / weights) as temporary:
        uncompiled.save_weights(temporary)
    return weights


def _backup_dir(folder, job):
    return folder.backup / "_".join(map(str, job.key.values()))
