import dataclasses
import json
import pathlib

import keras
import pytest

from keras_gappos.experiments.attack.settings import AttackSettings
from keras_gappos.experiments.engine.results import (
    ResultFolder,
    command_line,
    environment,
    read_results,
)
from keras_gappos.experiments.invariance.settings import InvarianceSettings
from keras_gappos.experiments.location.settings import LocationSettings
from keras_gappos.experiments.probe.settings import ProbeSettings
from keras_gappos.experiments.tune.settings import TuneSettings
from keras_gappos.files import replacing

SETTINGS = {
    "location": LocationSettings,
    "invariance": InvarianceSettings,
    "attack": AttackSettings,
    "probe": ProbeSettings,
    "tune": TuneSettings,
}
PUBLISHED = sorted((pathlib.Path(__file__).parents[3] / "examples/results").rglob("results.json"))


@dataclasses.dataclass(frozen=True)
class Settings:
    data_dir: str | None = None
    output_dir: str = "here"
    grids: tuple[int, ...] = (3, 7)
    flip: bool = True
    width: int = 64


def test_rows_are_on_disk_as_soon_as_they_are_added_and_read_again(tmp_path):
    folder = ResultFolder(tmp_path / "new" / "folder", "test", Settings())
    folder.add({"network": "gapnet", "accuracy": 99.5})
    content = json.loads((tmp_path / "new" / "folder" / "results.json").read_text())
    assert list(content) == ["experiment", "command", "settings", "environment", "rows"]
    (row,) = content["rows"]
    assert (row["network"], row["accuracy"]) == ("gapnet", 99.5)
    assert (row["backend"], row["device"]) == (
        content["environment"]["backend"],
        content["environment"]["device"],
    )
    again = ResultFolder(tmp_path / "new" / "folder", "test", Settings())
    assert again.find(network="gapnet")["accuracy"] == 99.5
    assert again.find(network="permutenet") is None


def test_places_of_files_are_no_part_of_the_settings(tmp_path):
    ResultFolder(tmp_path, "test", Settings(data_dir="/one")).add({})
    content = ResultFolder(tmp_path, "test", Settings(data_dir="/other")).content
    assert content["settings"] == {"grids": [3, 7], "flip": True, "width": 64}
    assert "/one" not in json.dumps(content)


def test_other_settings_in_the_same_folder_are_refused_with_the_difference(tmp_path):
    ResultFolder(tmp_path, "test", Settings()).add({})
    with pytest.raises(ValueError, match=r"other settings: width is 64 there, 8 here"):
        ResultFolder(tmp_path, "test", Settings(width=8))
    with pytest.raises(ValueError, match=r"experiment is test there, attack here"):
        ResultFolder(tmp_path, "attack", Settings())


def test_an_extendable_setting_takes_more_values_later_and_the_command_gives_them_all(tmp_path):
    def folder(**settings):
        return ResultFolder(tmp_path, "test", Settings(**settings), extendable=("grids",))

    first = folder(grids=(7,), width=8)
    first.add({"grid_size": 7})
    second = folder(grids=(3,), width=8)
    assert second.backup == first.backup
    assert second.rows == first.rows
    second.add({"grid_size": 3})
    content = read_results(tmp_path / "results.json")
    assert content["settings"]["grids"] == [3, 7]
    assert content["command"] == "keras-gappos run test --width 8"  # (3, 7) is the default
    assert folder(grids=(7,), width=8).content["settings"]["grids"] == [3, 7]
    with pytest.raises(ValueError, match=r"other settings: width is 8 there, 9 here"):
        folder(grids=(3,), width=9)
    assert folder(grids=(5, 2), width=8).content["settings"]["grids"] == [3, 7, 2, 5]


@dataclasses.dataclass(frozen=True)
class LaterSettings(Settings):
    stem: str = "cifar"
    distribute: str = "none"


def test_settings_that_came_later_were_at_their_defaults_before(tmp_path):
    before = ResultFolder(tmp_path, "test", Settings(width=8))
    before.add({"grid_size": 3})
    later = ResultFolder(tmp_path, "test", LaterSettings(width=8))
    assert later.rows == before.rows
    later.add({"grid_size": 7})
    settings = read_results(tmp_path / "results.json")["settings"]
    assert settings == {**before.content["settings"], "stem": "cifar", "distribute": "none"}
    with pytest.raises(ValueError, match=r"other settings: stem is cifar there, canvas here"):
        ResultFolder(tmp_path, "test", LaterSettings(width=8, stem="canvas"))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_a_published_folder_can_go_on(path, tmp_path, monkeypatch):
    content = read_results(path)
    (tmp_path / "results.json").write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)
    settings = SETTINGS[content["experiment"]].from_recorded(content["settings"])
    if weights := content["settings"].get("weights"):  # must be there
        pathlib.Path(weights).parent.mkdir(parents=True)
        pathlib.Path(weights).touch()
        settings = dataclasses.replace(settings, weights=weights)
    folder = ResultFolder(tmp_path, content["experiment"], settings)
    assert folder.rows == content["rows"]


def test_an_output_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"`output_dir` must be a folder that can be written"):
        ResultFolder(tmp_path / "file" / "folder", "test", Settings())


def test_a_folder_that_another_process_writes_into_is_refused(tmp_path):
    folder = ResultFolder(tmp_path, "test", Settings())
    with (
        folder.lock(),
        pytest.raises(OSError, match=r"Another process is writing into `output_dir`"),
        ResultFolder(tmp_path, "test", Settings()).lock(),
    ):
        pass
    with ResultFolder(tmp_path, "test", Settings()).lock():  # free again
        assert (tmp_path / ".lock").exists()


def test_backups_of_other_settings_are_kept_apart(tmp_path):
    one = ResultFolder(tmp_path, "test", Settings(width=8)).backup
    assert one != ResultFolder(tmp_path, "test", Settings(width=16)).backup
    assert one == ResultFolder(tmp_path, "test", Settings(width=8, data_dir="x")).backup


def test_a_backup_goes_on_on_other_devices(tmp_path):
    one = ResultFolder(tmp_path, "test", LaterSettings()).backup
    assert one == ResultFolder(tmp_path, "test", LaterSettings(distribute="jax")).backup


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"rows": 3}'])
def test_a_damaged_results_file_is_named(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=r"results.json is not a results file"):
        read_results(tmp_path / "results.json")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "weights" / "a.weights.h5"
    with replacing(path) as temporary:
        temporary.write_text("first")
    assert temporary.name.endswith(".weights.h5")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("sec")
        raise RuntimeError
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_the_command_line_says_what_is_not_default():
    settings = Settings(data_dir="/somewhere", output_dir="x", grids=(2,), flip=False)
    assert command_line("location", settings) == (
        "keras-gappos run location --data-dir DATA_DIR --grids 2 --no-flip"
    )
    assert command_line("location", Settings()) == "keras-gappos run location"


def test_the_environment_names_versions_and_device():
    found = environment()
    assert found["backend"].startswith(keras.backend.backend())
    assert found["keras"] == keras.__version__
    assert found["device"]
    assert environment(4)["device"] == f"4 x {found['device']}"
