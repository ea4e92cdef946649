import dataclasses
import gc
import io
import json

import keras
import numpy as np
import pytest
from rich.console import Console

from keras_gappos import data
from keras_gappos.experiments.engine.devices import ONE_DEVICE, Devices
from keras_gappos.experiments.engine.results import flags_of
from keras_gappos.experiments.tune import run as tune
from keras_gappos.experiments.tune.settings import TuneSettings
from keras_gappos.tuning.augshift import AugShiftHyperModel


def tiny(folder, **changes):
    settings = TuneSettings(
        dataset="digits",
        output_dir=str(folder),
        tuner="random",
        trials=3,
        epochs=1,
        space=("batch_size=32", "max_shift=1,2"),
        train_images=96,
        validation_images=32,
        consistency_images=16,
        measure_shift=1,
    )
    return dataclasses.replace(settings, **changes)


def make_small_network(self, values):
    """A convolution in place of a ResNet, which takes ten seconds to compile."""
    return keras.Sequential(
        [
            keras.Input(self.image_shape),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(self.num_classes, dtype="float32"),
        ]
    )


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(AugShiftHyperModel, "make_network", make_small_network)


@pytest.fixture(autouse=True, scope="module")
def quick_garbage_collection():
    """KerasTuner collects garbage before each trial, and TensorFlow has a lot to look through."""
    gc.freeze()
    yield
    gc.unfreeze()


def rows_of(folder):
    return json.loads((folder / "results.json").read_text())["rows"]


def choices(rows):
    return [row["settings"] for row in rows]


def test_a_search_leaves_rows_table_and_figure(tmp_path):
    content = tune.run(tiny(tmp_path))
    rows = rows_of(tmp_path)
    assert rows == content["rows"] and [row["trial"] for row in rows] == [0, 1, 2]
    for row in rows:
        assert (row["status"], row["epochs"], row["initial_epoch"]) == ("COMPLETED", 1, 0)
        assert 0 <= row["val_accuracy"] <= 100 and 0 <= row["val_shift_consistency"] <= 100
        assert row["settings"]["batch_size"] == 32 and row["settings"]["max_shift"] in (1, 2)
        assert row["seconds"] > 0 and row["starts"] == 1
    assert content["command"].startswith("keras-gappos tune ")
    assert "keras-gappos run invariance" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_test_images_are_never_read(tmp_path, monkeypatch):
    load, splits = data.load, []

    def watched(name, split, *arguments, **options):
        splits.append(split)
        return load(name, split, *arguments, **options)

    monkeypatch.setattr(data, "load", watched)
    tune.run(tiny(tmp_path, trials=1))
    assert splits == ["train"]


def test_held_out_images_are_not_trained_on(tmp_path):
    _, ((images, labels), (held_out, held_out_labels)) = tune._load(tiny(tmp_path), ONE_DEVICE)
    whole, all_labels = data.load("digits", "train", limit=96)
    assert (len(images), len(held_out)) == (64, 32)
    np.testing.assert_array_equal(np.r_[labels, held_out_labels], all_labels)
    scaled = whole.astype("float32") / 255
    expected = (scaled - scaled.mean()) / scaled.std()
    np.testing.assert_allclose(np.concatenate([images, held_out]), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("images", "held_out", "measured"),
    [(1397, 279, 279), (96, 19, 19), (50_000, 2000, 1000), (7, 1, 1)],
)
def test_a_fifth_of_the_training_images_is_held_out_by_default(
    images, held_out, measured, monkeypatch
):
    data = np.zeros((images, 8, 8, 1), "float32"), np.zeros(images, int)
    monkeypatch.setattr(tune, "load_training_images", lambda settings: data)
    settings, ((train, _), (validation, _)) = tune._load(TuneSettings(), ONE_DEVICE)
    assert (settings.validation_images, settings.consistency_images) == (held_out, measured)
    assert (len(train), len(validation)) == (images - held_out, held_out)
    settings, _ = tune._load(TuneSettings(), Devices(replicas=4))
    assert settings.validation_images == max(held_out - held_out % 4, 1)


@pytest.mark.parametrize(("train_images", "held_out"), [(None, 279), (200, 40), (40, 8)])
def test_the_defaults_search_on_the_embedded_digits(train_images, held_out, tmp_path):
    settings = TuneSettings(
        output_dir=str(tmp_path), tuner="random", trials=1, epochs=1, train_images=train_images
    )
    content = tune.run(settings)
    assert content["settings"]["dataset"] == "digits"
    assert content["settings"]["validation_images"] == held_out
    assert content["rows"][0]["status"] == "COMPLETED"
    tune.run(settings)  # the same search, which is complete


@pytest.mark.parametrize(
    ("count", "sizes"), [(256, (32, 64, 128, 256)), (255, (32, 64, 128)), (32, (32,))]
)
def test_batch_sizes_fit_the_training_images_unless_they_are_named(count, sizes):
    assert tune._space(TuneSettings(), count) == {"batch_size": list(sizes)}
    assert tune._space(TuneSettings(space=("batch_size=256",)), count) == {"batch_size": 256}


@pytest.mark.slow
def test_a_search_that_was_stopped_makes_the_same_choices(tmp_path, monkeypatch):
    tune.run(tiny(tmp_path / "whole"))
    fit, calls = AugShiftHyperModel.fit, []

    def stop_in_the_second(self, *arguments, **options):
        calls.append(self)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(AugShiftHyperModel, "fit", stop_in_the_second)
        with pytest.raises(KeyboardInterrupt):
            tune.run(tiny(tmp_path / "stopped"))
    assert len(rows_of(tmp_path / "stopped")) == 1
    tune.run(tiny(tmp_path / "stopped"))
    whole, stopped = rows_of(tmp_path / "whole"), rows_of(tmp_path / "stopped")
    assert choices(whole) == choices(stopped)
    scores = [[row["val_accuracy"] for row in rows] for rows in (whole, stopped)]
    np.testing.assert_allclose(*scores, atol=3.2)  # one of 32 images
    assert [row["starts"] for row in stopped] == [1, 2, 1]


@pytest.mark.slow
def test_hyperband_names_the_trial_that_each_trial_continues(tmp_path):
    tune.run(tiny(tmp_path, tuner="hyperband", trials=4, epochs=3))
    rows = rows_of(tmp_path)
    continued = [row for row in rows if row["continues"] is not None]
    assert continued
    for row in continued:
        before = rows[row["continues"]]
        assert before["settings"] == row["settings"]
        assert (before["epochs"], row["initial_epoch"], row["epochs"]) == (1, 1, 3)


@pytest.mark.slow
def test_a_trial_that_diverges_is_a_row_with_its_reason(tmp_path, monkeypatch):
    usual = AugShiftHyperModel.learning_rate

    def explosive(self, values, steps):
        if values["max_shift"] == 2:
            return keras.optimizers.schedules.ExponentialDecay(1e30, 1, 1.0)
        return usual(self, values, steps)

    monkeypatch.setattr(AugShiftHyperModel, "learning_rate", explosive)
    tune.run(tiny(tmp_path, trials=4))
    rows = rows_of(tmp_path)
    for row in rows:
        failed = row["settings"]["max_shift"] == 2
        assert row["status"] == ("FAILED" if failed else "COMPLETED")
        assert ("max_shift=2" in (row["message"] or "")) == failed
    assert {row["status"] for row in rows} == {"FAILED", "COMPLETED"}


def test_the_folder_of_another_search_is_rejected_with_the_difference(tmp_path):
    tune.run(tiny(tmp_path, trials=1))
    before = (tmp_path / "results.json").read_text()
    with pytest.raises(ValueError, match="seed is 0 there, 3 here"):
        tune.run(tiny(tmp_path, trials=1, seed=3))
    assert (tmp_path / "results.json").read_text() == before


def test_other_settings_are_rejected_before_a_trial_has_ended_too(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(AugShiftHyperModel, "fit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            tune.run(tiny(tmp_path))
    for change in ({"measure_shift": 2}, {"train_images": 128}, {"normalize": False}):
        with pytest.raises(ValueError, match=f"{next(iter(change))} is .* there"):
            tune.run(tiny(tmp_path, **change))


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_a_log_begins_with_what_is_to_be_done(tmp_path):
    text = io.StringIO()
    tune.run(tiny(tmp_path, trials=2, epochs=2), Console(file=text))
    assert text.getvalue().startswith("2 trials of 4 epochs in all\n")


def test_bad_data_raise_an_error_before_workers_start(tmp_path):
    with pytest.raises(ValueError, match="`batch_size` must not exceed"):
        tune.run(tiny(tmp_path, space=("batch_size=128",), workers=2))
    assert not (tmp_path / "search/workers").exists()


def test_devices_of_jax_must_share_each_batch_of_held_out_images_evenly(tmp_path, monkeypatch):
    monkeypatch.setattr(tune, "use_devices", lambda distribute: Devices(replicas=2))
    with pytest.raises(ValueError, match=r"`validation_images` must be a multiple.*=33, 2 devices"):
        tune._devices(tiny(tmp_path, distribute="jax", validation_images=33))
    tune._devices(tiny(tmp_path, distribute="jax", validation_images=32))


@pytest.mark.slow
@pytest.mark.tensorflow
def test_tensorboard_gets_logs_of_each_trial_with_its_settings(tmp_path):
    tune.run(tiny(tmp_path, trials=2, tensorboard=True))
    for trial in ("0", "1"):
        files = list((tmp_path / "tensorboard" / trial).rglob("events.out.*"))
        assert any(b"max_shift" in path.read_bytes() for path in files)


def test_tensorboard_elsewhere_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="`tensorboard` needs the TensorFlow backend"):
        tune.run(tiny(tmp_path, tensorboard=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tuner": "hyperbnd"}, "Did you mean 'hyperband'"),
        ({"objective": "val_acc"}, "Did you mean 'val_accuracy'"),
        ({"trials": 0}, "`trials` must be at least 1"),
        ({"workers": -1}, "`workers` must be at least 0"),
        ({"tolerance": -1.0}, "`tolerance` must be at least 0"),
        ({"factor": 1}, "`factor` must be at least 2"),
    ],
)
def test_bad_settings_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation_images": 96}, "`validation_images` must leave images.*of 96 images"),
        ({"space": ("downsampling=max",)}, r"`space\['downsampling'\]` must be in"),
        ({"space": ("width=0",)}, r"`space\['width'\]` must be integers of at least 1"),
        ({"space": ("batch_size=128",)}, "`batch_size` must not exceed"),
        ({"space": (), "train_images": 63}, "use more images.*up to 256, 31 images"),
        ({"measure_shift": 8}, "`measure_shift` must be"),
    ],
)
def test_data_and_spaces_that_do_not_fit_are_named(tmp_path, changes, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        tune.run(tiny(tmp_path, **changes))


@pytest.mark.slow
@pytest.mark.tensorflow
def test_two_devices_find_what_one_does(tmp_path):
    space = ("batch_size=32", "max_shift=1", "flip=false", "learning_rate=0.1")
    for kind in ("none", "mirrored"):
        tune.run(tiny(tmp_path / kind, distribute=kind, trials=1, space=space))
    one, two = (rows_of(tmp_path / kind)[0] for kind in ("none", "mirrored"))
    assert (one["status"], two["status"]) == ("COMPLETED", "COMPLETED")
    assert one["settings"] == two["settings"]
    with pytest.raises(ValueError, match="`batch_size` counts the images on all devices"):
        tune._devices(tiny(tmp_path, distribute="mirrored")).check_batch_size(33)


def test_workers_of_both_kinds_are_rejected(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "8000")
    with pytest.raises(ValueError, match="`workers` starts all processes"):
        tune.run(tiny(tmp_path, workers=2))


def test_the_flags_of_a_worker_are_its_chiefs(tmp_path):
    settings = tiny(tmp_path, workers=2, data_dir="/data")
    flags = flags_of(settings, workers=None)
    assert flags[:4] == ["--data-dir", "/data", "--output-dir", str(tmp_path)]
    assert "--workers" not in flags
    assert flags[flags.index("--space") :][:3] == ["--space", "batch_size=32", "max_shift=1,2"]
