import dataclasses
import io
import json

import h5py
import keras
import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from keras_gappos.data.batches import TrainingBatches
from keras_gappos.experiments.engine.data import ImageData
from keras_gappos.experiments.engine.experiment import Experiment, Job
from keras_gappos.experiments.engine.settings import NetworkSettings

IMAGES = np.random.default_rng(0).random((8, 2, 2, 1), "float32")
LABELS = np.arange(8) % 2


@dataclasses.dataclass(frozen=True)
class ToySettings(NetworkSettings):
    units: tuple[int, ...] = (2, 3)
    epochs: int = 2
    batch_size: int = 4


class Toy(Experiment):
    """All that an experiment supplies, on networks of two dense layers."""

    name = "toy"
    Settings = ToySettings
    keys = ("units",)
    data = ImageData(IMAGES, IMAGES, LABELS, LABELS, [0.0], [1.0])

    def plan(self):
        return [Job({"units": units}, f"{units} units", 1.0) for units in self.settings.units]

    def build(self, key, image_shape, num_classes):
        inputs = keras.Input(tuple(image_shape))
        hidden = keras.layers.Dense(key["units"])(keras.layers.Flatten()(inputs))
        return keras.Model(inputs, keras.layers.Dense(num_classes)(hidden))

    def train(self, job, network):
        batches = TrainingBatches(IMAGES, LABELS, self.settings.batch_size, False, 0)
        return {"epochs": self.fit(job, network, self.compiled, batches, self.settings.epochs, 0.4)}

    def compiled(self, network):
        network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return network

    def score(self, job, network):
        weights = self.save_weights(network, job.name)
        return {**self.measure(job.key, network), "weights": weights}

    def measure(self, key, network):
        return {"mean": float(network.predict(IMAGES, verbose=0).mean())}

    @staticmethod
    def summarize(row):
        return f"mean {row['mean']:.2f}"

    @staticmethod
    def make_table(rows):
        return Table(*map(str, rows))

    def write_report(self):
        (self.folder.path / "table.md").write_text(f"{len(self.folder.rows)} rows")


def run(folder, cls=Toy, **settings):
    log = Console(file=io.StringIO(), width=200)
    rows = cls(ToySettings(output_dir=str(folder), **settings)).run(log)
    return rows, log.file.getvalue()


def test_a_run_leaves_rows_report_and_weights_and_no_backup(tmp_path):
    rows, log = run(tmp_path)
    assert [row["units"] for row in rows] == [2, 3]
    assert [row["parameters"] for row in rows] == [16, 23]  # (4 + 1) u + (u + 1) 2
    assert {(row["epochs"], row["train_images"], row["num_classes"]) for row in rows} == {(2, 8, 2)}
    content = json.loads((tmp_path / "results.json").read_text())
    assert (content["rows"], content["command"].split()[:3]) == (
        rows,
        ["keras-gappos", "run", "toy"],
    )
    assert (tmp_path / "table.md").read_text() == "2 rows"
    assert not (tmp_path / "backup").exists()
    assert "3 units, epoch 2/2: loss" in log
    assert f"3 units: mean {rows[1]['mean']:.2f} in" in log


def test_finished_networks_are_not_trained_again(tmp_path):
    rows, _ = run(tmp_path)

    class Finished(Toy):
        def train(self, job, network):
            pytest.fail("it trained again")

    again, log = run(tmp_path, Finished)
    assert again == rows
    assert "2 units: finished earlier" in log


@pytest.mark.parametrize("part", ["train", "score"])
def test_an_interrupted_run_resumes_with_the_same_result(part, tmp_path):
    rows, _ = run(tmp_path / "straight")

    class Interrupted(Toy):
        """Stopped at its second network."""

    def stop(self, job, network):
        if job.key == {"units": 3}:
            raise KeyboardInterrupt
        return getattr(Toy, part)(self, job, network)

    setattr(Interrupted, part, stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", Interrupted)
    content = json.loads((tmp_path / "broken" / "results.json").read_text())
    assert [row["units"] for row in content["rows"]] == [2]
    backups = list((tmp_path / "broken" / "backup").rglob("epoch*"))
    assert [path.parent.name for path in backups] == ([] if part == "train" else ["3"])
    resumed, _ = run(tmp_path / "broken")
    assert [row["mean"] for row in resumed] == [row["mean"] for row in rows]
    assert not (tmp_path / "broken" / "backup").exists()


def test_a_trained_network_is_loaded_by_its_key(tmp_path):
    rows, _ = run(tmp_path)
    network = Toy.load_network(tmp_path, units=3)
    assert network.predict(IMAGES, verbose=0).mean() == pytest.approx(rows[1]["mean"])
    for key in ({}, {"units": 4}, {"width": 3}):
        with pytest.raises(ValueError, match=r"there: \[{'units': 2}, {'units': 3}\]") as error:
            Toy.load_network(tmp_path, **key)
        assert f"Received: {key}" in str(error.value)


def test_a_folder_of_other_settings_is_refused(tmp_path):
    run(tmp_path, units=(2,))
    with pytest.raises(ValueError, match=r"other settings.*units is \[2\] there, \[3\] here"):
        run(tmp_path, units=(3,))


def test_the_dtype_policy_is_restored_after_an_error(tmp_path):
    class Broken(Toy):
        def train(self, job, network):
            assert keras.config.dtype_policy().name == "mixed_bfloat16"
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run(tmp_path, Broken, precision="mixed_bfloat16")
    assert keras.config.dtype_policy().name == "float32"


def test_a_weights_file_holds_the_network_and_not_its_optimizer(tmp_path):
    (row,), _ = run(tmp_path, units=(2,))
    with h5py.File(tmp_path / row["weights"]) as file:
        assert "optimizer" not in file


def test_settings_are_read_back_from_a_results_file():
    settings = ToySettings(units=(5, 6), seed=3)
    recorded = json.loads(json.dumps(dataclasses.asdict(settings)))
    assert recorded["units"] == [5, 6]
    assert ToySettings.from_recorded(recorded) == settings
    del recorded["data_dir"]
    assert ToySettings.from_recorded(recorded, data_dir="there").data_dir == "there"
