"""What the experiments share: devices, folder, lock, data, resuming, progress, rows, report."""

from __future__ import annotations

import abc
import dataclasses
import functools
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
from rich.console import Console, RenderableType

from keras_gappos.experiments.engine.checkpoint import EpochBackup
from keras_gappos.experiments.engine.data import load_images
from keras_gappos.experiments.engine.devices import dtype_policy, use_devices
from keras_gappos.experiments.engine.display import RunDisplay, ShowProgress, plain_console
from keras_gappos.experiments.engine.results import ResultFolder, read_results
from keras_gappos.experiments.engine.settings import TrainingSettings, check_one_batch
from keras_gappos.files import weights_in_memory, write_bytes
from keras_gappos.interrupts import EndAtInterrupt

TRAIN_COST = 3  # a training step costs about three test steps


@dataclasses.dataclass(frozen=True)
class Job:
    """One network to train and score.

    Attributes:
        key: the entries of its row that tell it from the others.
        name: what the progress display calls it.
        work: how long it takes, in any unit.
    """

    key: dict
    name: str
    work: float


class Experiment(abc.ABC):
    """Networks that are trained and scored one by one, each for a row of results.

    A subclass supplies `plan`, `build`, `train`, `score`, the report and, if its networks can be
    published, their zoo entries; `run` does the rest.

    Args:
        settings: an instance of the subclass's `Settings`.

    Attributes:
        name: the experiment's name on the command line.
        Settings: its dataclass of settings.
        keys: the entries of a row by which `load_network` finds a network.
        extendable: names of settings, tuples, to which a later run may add values.
        report: its module with `make_table` and `write_report`.
        zoo_entry: its module with `entries`, a function of recorded settings and a row that
            yields, for each network, the path of its weights and its own fields of a `ZooModel`.
        folder, display: the `ResultFolder` and the `RunDisplay`, while the experiment runs.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[TrainingSettings]]
    keys: ClassVar[tuple[str, ...]]
    report: Any
    zoo_entry: Any = None
    extendable: ClassVar[tuple[str, ...]] = ()
    folder: ResultFolder
    display: RunDisplay
    _seconds = 0.0  # that the job's trainings have taken

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @functools.cached_property
    def data(self) -> Any:
        """The images: an `ImageData`, unless the subclass loads something else."""
        return load_images(self.settings)

    def check(self) -> None:
        """Raises a `ValueError` for settings that fit no data, before any data are loaded."""
        settings = self.settings
        if settings.train_images is not None and getattr(settings, "weights", None) is None:
            check_one_batch(settings.train_images, settings.batch_size)

    @abc.abstractmethod
    def plan(self) -> list[Job]:
        """The networks to train, in order."""

    @abc.abstractmethod
    def build(self, key: dict, image_shape: Sequence[int], num_classes: int) -> keras.Model:
        """Builds the untrained network of a row.

        Args:
            key: the entries of the row that tell it from the others.
            image_shape: `(height, width, channels)` of one image.
            num_classes: number of image classes.
        """

    @abc.abstractmethod
    def train(self, job: Job, network: keras.Model) -> dict:
        """Trains a network; returns entries of its row, `epochs` among them."""

    @abc.abstractmethod
    def score(self, job: Job, network: keras.Model) -> dict:
        """Scores a trained network and saves it; returns the other entries of its row."""

    @abc.abstractmethod
    def measure(self, key: dict, network: keras.Model) -> dict:
        """Measures a trained network again; returns the metrics of its model card, in percent.

        Random draws depend on the settings' seed alone.
        """

    @staticmethod
    @abc.abstractmethod
    def summarize(row: dict) -> str:
        """A row's result in a few words, for the log."""

    @classmethod
    def make_table(cls, rows: list[dict]) -> RenderableType:
        """A table of the rows, to print."""
        return cls.report.make_table(rows)

    def write_report(self) -> None:
        """Writes table and figure of the folder's rows into the folder."""
        images = self.data.test_images if getattr(self.settings, "show_images", False) else None
        self.report.write_report(self.folder.path, self.folder.content, images)

    def run(self, console: Console | None = None) -> list[dict]:
        """Trains and scores what is not yet in the output folder; writes table and figure.

        Args:
            console: where to show progress, or `None` for standard output. Of several processes
                only the chief shows anything.

        Returns:
            All rows of the folder, dictionaries.

        Raises:
            ValueError: for data that do not fit the settings, or an output folder of other
                settings.
            OSError: if the output folder cannot be written.
        """
        settings = self.settings
        devices = use_devices(settings.distribute, settings.batch_size)
        console = console or plain_console()
        console.quiet = console.quiet or not devices.is_chief
        self.folder = ResultFolder(
            settings.output_dir, self.name, settings, self.extendable, devices
        )
        if not self.folder.rows:  # else an earlier run has come further
            self.check()
        with self.folder.lock(), dtype_policy(settings.precision):
            jobs = self.plan()
            with RunDisplay(sum(job.work for job in jobs), self.make_table, console) as display:
                self.display = display
                for job in jobs:
                    if self._finish(job) and devices.is_chief and job is not jobs[-1]:
                        self.write_report()
            if devices.is_chief:
                self.write_report()
            if not any(self.folder.backup.glob("*")):  # else another method's training is under way
                shutil.rmtree(self.folder.path / "backup", ignore_errors=True)
        return self.folder.rows

    def _finish(self, job):
        """Trains and scores one network, unless an earlier run has; returns whether it did."""
        folder, display = self.folder, self.display
        display.show(folder.rows, job.name)
        if found := folder.find(**job.key):
            display.log(f"{job.name}: finished earlier")
            display.skip(job.work)
        else:
            row = self._make_row(job)
            folder.add(folder.devices.from_chief(lambda: row))
            display.log(f"{job.name}: {self.summarize(row)} in {row['seconds']:.0f} s")
        shutil.rmtree(self._backup_dir(job), ignore_errors=True)
        return found is None

    def _make_row(self, job):
        keras.utils.set_random_seed(self.settings.seed)
        network = self.build(job.key, self.data.image_shape, self.data.num_classes)
        self._seconds = 0.0
        row = {**job.key, **self.data.describe(), "parameters": network.count_params()}
        row |= self.train(job, network)
        row |= self.score(job, network)
        return {**row, "seconds": round(self._seconds, 1)}

    def fit(
        self,
        job: Job,
        network: keras.Model,
        compiled: Callable[[keras.Model], keras.Model],
        batches: Any,
        epochs: int,
        epoch_work: float,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        part: str = "",
    ) -> int:
        """Trains the epochs that are not in the job's backup yet, on the experiment's devices.

        Args:
            job: the job.
            network: the network to train; it has its weights in the end, on one device.
            compiled: function of such a network that returns a compiled model of it, to be fitted.
            batches: shuffled training batches, with a `callback` that starts their epochs, such as
                `TrainingBatches`.
            epochs: number of epochs in all.
            epoch_work: work of one epoch, in the unit of the job's.
            callbacks: Keras callbacks, called before the backup is made.
            part: which of the job's trainings this is, if there are several.

        Returns:
            The number of epochs trained, earlier runs' included.
        """
        devices = self.folder.devices
        progress = ShowProgress(self.display, epoch_work / len(batches), 0, job.name)
        with devices.training(network) as copy:
            model = compiled(copy)
            backup = EpochBackup(self._backup_dir(job) / part, model, devices)
            self.display.skip(epoch_work * backup.epochs)
            if not backup.stopped:
                model.fit(
                    devices.part(batches),
                    shuffle=False,  # a resumed training must see the same batches
                    initial_epoch=backup.epochs,
                    epochs=epochs,
                    verbose=0,
                    callbacks=[batches.callback, *callbacks, progress, backup, EndAtInterrupt()],
                )
        self.display.skip(epoch_work * (epochs - backup.epochs))
        self._seconds += backup.seconds
        return backup.epochs

    def save_weights(self, network: keras.Model, name: str) -> str:
        """Saves a network's weights in the folder; returns the file's path inside it."""
        weights = f"weights/{name}.weights.h5"
        # A model that was compiled would save its optimizer, too, which is as large as the weights.
        uncompiled = keras.Model(network.inputs, network.outputs)
        write_bytes(self.folder.path / weights, weights_in_memory(uncompiled).getbuffer())
        return weights

    def save_rankings(self, rankings: dict, name: str) -> dict[str, str]:
        """Saves `ChannelRanking`s in the folder; returns the files' paths inside it, by name."""
        paths = {ranking: f"rankings/{name}_{ranking}.json" for ranking in rankings}
        for ranking, path in paths.items():
            rankings[ranking].to_json(self.folder.path / path)
        return paths

    def _backup_dir(self, job):
        return self.folder.backup / "_".join(map(str, job.key.values()))

    @classmethod
    def weights_files(cls, row: dict) -> list[tuple[dict, str]]:
        """`(key, file)` of each network whose weights a row names, with the class's `keys`."""
        if "weights" not in row:
            return []
        return [({name: row[name] for name in cls.keys}, row["weights"])]

    @classmethod
    def load_network(cls, output_dir: str | pathlib.Path, **key: Any) -> keras.Model:
        """Loads a trained network from the folder of an experiment.

        Its input is what the row's `mean` and `std`, if it has them, make of images in [0, 1].

        Args:
            output_dir: the experiment's output folder.
            **key: entries of the network's row, as many of the class's `keys` as tell it from the
                others.

        Returns:
            A Functional `keras.Model`.

        Raises:
            ValueError: if not exactly one network fits; the message lists those that are there.
        """
        output_dir = pathlib.Path(output_dir).expanduser()
        content = read_results(output_dir / "results.json")
        networks = [(*pair, row) for row in content["rows"] for pair in cls.weights_files(row)]
        fitting = [found for found in networks if key.items() <= found[0].items()]
        if len(fitting) != 1:
            raise ValueError(
                f"{output_dir} must have one finished network of the key given. Received: {key}; "
                f"the networks there: {[found for found, _, _ in networks]}"
            )
        [(found, weights, row)] = fitting
        experiment = cls(cls.Settings.from_recorded(content["settings"]))
        network = experiment.build(found, row["image_shape"], row["num_classes"])
        network.load_weights(output_dir / weights)
        return network
