import dataclasses
import json

import keras
import numpy as np
import pytest

from keras_gappos import GridTask, data
from keras_gappos.experiments.location.run import Location
from keras_gappos.experiments.location.settings import LocationSettings
from keras_gappos.experiments.location.zoo_entry import entries
from keras_gappos.layers import Pad2D


def run(settings):
    return Location(settings).run()


def tiny(folder, **changes):
    settings = LocationSettings(
        dataset="digits",
        output_dir=str(folder),
        grids=(2,),
        tasks=("location",),
        networks=("gapnet",),
        width=2,
        epochs=2,
        train_images=64,
        test_images=20,
        test_passes=2,
        batch_size=32,
    )
    return dataclasses.replace(settings, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run of two rows."""
    folder = tmp_path_factory.mktemp("finished")
    run(tiny(folder, networks=("gapnet", "permutenet")))
    return folder


def test_a_run_leaves_rows_table_figure_and_weights(finished):
    content = json.loads((finished / "results.json").read_text())
    assert [row["network"] for row in content["rows"]] == ["gapnet", "permutenet"]
    for row in content["rows"]:
        assert 0 <= row["accuracy"] <= 100
        assert (row["chance"], row["epochs"], row["test_passes"]) == (25.0, 2, 2)
        assert (finished / row["weights"]).is_file()
        assert {example["cell"] for example in row["examples"]} == {0, 1, 2, 3}
    assert "GAPNet" in (finished / "table.md").read_text()
    assert (finished / "figure.png").stat().st_size > 10_000
    assert content["settings"]["width"] == 2
    assert {row["backend"] for row in content["rows"]} == {content["environment"]["backend"]}
    assert not (finished / "backup").exists()


def test_each_padding_has_networks_of_its_own(tmp_path):
    experiment = Location(tiny(tmp_path, padding=("zeros", "circular")))
    zeros, circular = experiment.plan()
    assert (zeros.name, circular.name) == ("gapnet location 2x2", "gapnet location 2x2 circular")
    for job, modes in ((zeros, set()), (circular, {"circular"})):
        network = experiment.build(job.key, (8, 8, 1), 10)
        assert {layer.mode for layer in network.layers if isinstance(layer, Pad2D)} == modes


def test_the_zoo_entry_of_a_padded_network_names_its_padding(finished):
    content = json.loads((finished / "results.json").read_text())
    row = content["rows"][0] | {"padding": "circular"}
    ((_, fields),) = entries(content["settings"], row)
    assert fields["arguments"]["padding"] == fields["key"]["padding"] == "circular"
    assert fields["name"] == "gapnet_resnet18.digits_location_circular_2x2_w2"


def test_a_finished_network_is_loaded_and_scores_what_its_row_says(finished):
    content = json.loads((finished / "results.json").read_text())
    row = content["rows"][0]
    network = Location.load_network(finished, network="gapnet", task="location", grid_size=2)
    task = GridTask(network, 2, seed=1)
    task.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["acc"])
    images, labels = data.load("digits", "test", limit=20)
    images = (images.astype("float32") / 255 - row["mean"][0]) / row["std"][0]
    scores = [100 * task.evaluate(images, labels, verbose=0)[1] for _ in range(10)]
    # 20 images a pass: a standard error of at most 11 points a pass.
    assert abs(np.mean(scores) - row["accuracy"]) < 40
    named = [network.predict(_canvas(images, e), verbose=0).argmax() for e in row["examples"]]
    assert named == [example["predicted"] for example in row["examples"]]


def _canvas(images, example):
    canvas = np.zeros((1, 16, 16, 1), "float32")
    row, column = divmod(example["cell"], 2)
    canvas[0, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = images[example["image"]]
    return canvas


def test_a_row_that_is_not_there_is_named(finished):
    with pytest.raises(ValueError, match=r"Received: {'grid_size': 9}; .* there: .*'grid_size': 2"):
        Location.load_network(finished, grid_size=9)
    with pytest.raises(ValueError, match=r"one finished network .*Received: {}; .*'permutenet'"):
        Location.load_network(finished)


def test_finished_rows_are_not_trained_again(finished, monkeypatch):
    before = (finished / "results.json").read_text()
    monkeypatch.setattr(GridTask, "fit", lambda *_, **__: pytest.fail("it trained again"))
    rows = run(tiny(finished, networks=("gapnet", "permutenet")))
    assert len(rows) == 2
    assert (finished / "results.json").read_text() == before


@pytest.mark.slow
def test_an_interrupted_run_resumes_as_if_it_had_not_been(finished, tmp_path, monkeypatch):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    fit, begun = GridTask.fit, []

    def interrupted_fit(task, *args, callbacks, **kwargs):
        return fit(task, *args, callbacks=[*callbacks, Interrupt()], **kwargs)

    def watched_fit(task, *args, callbacks, **kwargs):
        def note(epoch, logs):
            begun.append((epoch, int(task.optimizer.iterations)))

        watch = keras.callbacks.LambdaCallback(on_epoch_begin=note)
        return fit(task, *args, callbacks=[*callbacks, watch], **kwargs)

    settings = tiny(tmp_path, networks=("permutenet",))
    monkeypatch.setattr(GridTask, "fit", interrupted_fit)
    with pytest.raises(KeyboardInterrupt):
        run(settings)
    assert not (tmp_path / "results.json").exists()
    monkeypatch.setattr(GridTask, "fit", watched_fit)
    (row,) = run(settings)
    assert begun == [(1, 2)]  # the second epoch, after two steps
    assert row["epochs"] == 2
    # It saw the batches, cells and permutations that the other run saw.
    straight = Location.load_network(finished, network="permutenet")
    for one, other in zip(
        Location.load_network(tmp_path).get_weights(), straight.get_weights(), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_training_stops_at_the_accuracy_asked_for(tmp_path):
    (row,) = run(tiny(tmp_path, epochs=3, target_accuracy=1.0))
    assert row["epochs"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, r"`width` must be at least 1. Received: width=0"),
        ({"test_passes": 0}, r"`test_passes` must be at least 1"),
        ({"grids": (0, 3)}, r"`grids` must be at least 1. Received: grids=\(0, 3\)"),
        ({"grids": (3, 3)}, r"`grids` must name one or more, each once"),
        ({"networks": ()}, r"`networks` must name one or more"),
        ({"learning_rate": -1.0}, r"`learning_rate` must be above 0"),
        ({"target_accuracy": 120.0}, r"`target_accuracy` must be in \(0, 100\] percent"),
        ({"seed": -1}, r"`seed` must be in"),
    ],
)
def test_bad_settings_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(tmp_path, **changes)


def test_fewer_images_than_one_batch_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"at least one batch .* 10 images, batch_size=32"):
        run(tiny(tmp_path, train_images=10))


def test_an_output_folder_that_cannot_be_written_is_said_before_data_are_loaded(
    tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(data, "load", lambda *_: pytest.fail("it loaded data"))
    with pytest.raises(OSError, match=r"`output_dir`"):
        run(tiny(tmp_path / "file"))


def test_the_defaults_are_the_papers():
    settings = LocationSettings()
    assert (settings.dataset, settings.grids, settings.width, settings.epochs) == (
        ("cifar10", (3, 7), 64, 20)
    )
    assert (settings.batch_size, settings.learning_rate, settings.flip) == (48, 1e-3, True)
    assert (settings.passes_of(3), settings.passes_of(7)) == (9, 49)
