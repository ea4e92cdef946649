import dataclasses
import json

import keras
import numpy as np
import pytest

from keras_gappos import GridTask
from keras_gappos.analysis import ChannelRanking, ablate
from keras_gappos.cli import main as cli
from keras_gappos.data.batches import GridBatches
from keras_gappos.experiments.engine.data import load_images
from keras_gappos.experiments.engine.effects import largest_effect
from keras_gappos.experiments.engine.results import find_row
from keras_gappos.experiments.probe.networks import build_network, feature_layer, with_location_head
from keras_gappos.experiments.probe.report import effect_table
from keras_gappos.experiments.probe.run import Probe
from keras_gappos.experiments.probe.scores import accuracy, rank_correlations
from keras_gappos.experiments.probe.settings import ProbeSettings

RANKINGS = {"position", "cell", "class", "random", "most_active"}


def run(settings):
    return Probe(settings).run()


def tiny(folder, **changes):
    settings = ProbeSettings(
        output_dir=str(folder),
        networks=("gapnet",),
        grid_size=2,
        width=1,
        epochs=1,
        head_epochs=2,
        counts=(3, 8),
        draws=2,
        train_images=64,
        rank_images=48,
        test_images=20,
        test_passes=2,
    )
    return dataclasses.replace(settings, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished folder, and the second head's kernel before it was trained."""
    folder, before = tmp_path_factory.mktemp("finished"), {}
    fit = GridTask.fit

    def watched_fit(task, *args, **kwargs):
        if task.task == "location":
            before["kernel"] = np.array(task.model.get_layer("class_conv").kernel)
        return fit(task, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GridTask, "fit", watched_fit)
        run(tiny(folder))
    return folder, before


def content_of(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.mark.slow
def test_a_run_leaves_rows_tables_figure_rankings_and_weights(finished):
    folder, _ = finished
    *rows, network = content_of(folder)["rows"]
    keys = [(row["ranking"], row["count"], row["task"]) for row in rows]
    assert set(keys) == {(r, n, t) for r in RANKINGS for n in (0, 3, 8) for t in tasks()}
    assert len(keys) == len(set(keys)) and network["ranking"] == "none"
    for row in rows:
        assert row["network"] == "gapnet" and 0 <= row["accuracy"] <= 100
        assert row["chance"] == {"location": 25.0, "class": 10.0}[row["task"]]
        if row["ranking"] == "random":
            np.testing.assert_allclose(np.mean(row["accuracy_draws"]), row["accuracy"])
            np.testing.assert_allclose(np.std(row["accuracy_draws"], ddof=1), row["accuracy_std"])
    for task in tasks():
        for count in (0, 8):  # none, or all: the ranking does not matter
            same = {
                round(row["accuracy"], 6)
                for row in rows
                if (row["task"], row["count"]) == (task, count)
            }
            assert len(same) == 1
    assert (network["channels"], network["map_size"], network["rank_images"]) == (8, [1, 1], 48)
    for path in (*network["weights"].values(), *network["rankings"].values()):
        assert (folder / path).is_file()
    table = (folder / "table.md").read_text()
    assert "GAPNet" in table and "class channels" in table and "padded with zeros" in table
    assert (folder / "figure.png").stat().st_size > 10_000
    assert not (folder / "backup").exists()


def tasks():
    return ("location", "class")


@pytest.mark.slow
def test_the_second_head_leaves_the_backbone_bit_unchanged(finished):
    folder, before = finished
    by_class, by_cell = (
        Probe.load_network(folder, network="gapnet", task=task) for task in ("class", "location")
    )
    last = by_class.layers.index(feature_layer(by_class))
    compared = 0
    for one, other in zip(by_class.layers[: last + 1], by_cell.layers):
        for ours, theirs in zip(one.weights, other.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            compared += 1
    assert compared == 20 * 5  # convolutions, each with a batch normalization of four
    head = by_cell.get_layer("class_conv")
    assert head.kernel.shape[-1] == 4
    assert np.abs(before["kernel"] - np.array(head.kernel)).max() > 0


@pytest.mark.slow
def test_the_rows_are_what_the_networks_do_without_those_channels(finished):
    folder, _ = finished
    settings = tiny(folder)
    *rows, row = content_of(folder)["rows"]
    images = load_images(settings)
    for task, ranking in (("location", "cell"), ("class", "class")):
        network = Probe.load_network(folder, network="gapnet", task=task)
        channels = ChannelRanking.from_json(folder / row["rankings"][ranking]).channels
        ablated = ablate(network, channels[:3], feature_layer(network))
        batches = GridBatches(
            images.test_images, images.test_labels, 2, task, 64, (settings.seed, 1), passes=2
        )
        pairs = [batches[index] for index in range(len(batches))]
        right = [np.asarray(ablated(x)).argmax(-1) == y for x, y in pairs]
        expected = 100 * np.concatenate(right).mean()
        (found,) = [r for r in rows if (r["task"], r["ranking"], r["count"]) == (task, ranking, 3)]
        assert found["accuracy"] == pytest.approx(expected)
        intact = find_row(rows, {"task": task, "count": 0})["accuracy"]
        assert accuracy(settings, network, task, images) == pytest.approx(intact)


@pytest.mark.slow
def test_weights_of_a_trained_network_take_the_place_of_training(finished, tmp_path, monkeypatch):
    class Seen(Exception):
        pass

    def first_fit(task, *_, **__):
        assert task.task == "location"
        raise Seen(task.model)

    monkeypatch.setattr(GridTask, "fit", first_fit)
    weights = str(finished[0] / content_of(finished[0])["rows"][-1]["weights"]["class"])
    with pytest.raises(Seen) as seen:
        run(tiny(tmp_path, weights=weights))
    (network,) = seen.value.args
    trained = Probe.load_network(finished[0], network="gapnet", task="class")
    for layer in network.layers[:-2]:  # up to the head
        for ours, theirs in zip(layer.weights, trained.get_layer(layer.name).weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert {weight.path for weight in network.trainable_weights} == {
        "class_conv/kernel",
        "class_conv/bias",
    }


def test_a_resnets_second_head_is_a_dense_layer_on_the_pooled_channels(tmp_path):
    settings = tiny(tmp_path)
    network = build_network(settings, "resnet", "class", (8, 8, 1), num_classes=10)
    twin = with_location_head(settings, "resnet", network, (8, 8, 1))
    assert (network.output_shape, twin.output_shape) == ((None, 10), (None, 4))
    assert [weight.path for weight in twin.trainable_weights] == ["logits/kernel", "logits/bias"]
    assert twin.get_layer("latent").input is feature_layer(twin).output


@pytest.mark.slow
def test_an_interrupted_run_trains_only_what_is_missing(tmp_path, monkeypatch):
    fit, begun = GridTask.fit, []

    def watched_fit(task, *args, callbacks, **kwargs):
        def note(epoch, logs):
            begun.append((task.task, epoch))
            if begun == [("class", 0), ("location", 0)]:
                raise KeyboardInterrupt

        watch = keras.callbacks.LambdaCallback(on_epoch_begin=note)
        return fit(task, *args, callbacks=[watch, *callbacks], **kwargs)

    monkeypatch.setattr(GridTask, "fit", watched_fit)
    settings = tiny(tmp_path, counts=(8,), networks=("permutenet",))
    with pytest.raises(KeyboardInterrupt):
        run(settings)
    assert not (tmp_path / "results.json").exists()
    begun.append("again")
    rows = run(settings)
    assert begun[3:] == [("location", 0), ("location", 1)]
    assert (rows[-1]["epochs"], rows[-1]["head_epochs"]) == (1, 2)
    assert "shuffles the channels" in (tmp_path / "table.md").read_text()
    monkeypatch.setattr(GridTask, "fit", lambda *_, **__: pytest.fail("it trained again"))
    assert len(run(settings)) == len(rows)


def test_grid_batches_give_each_image_a_fresh_cell_in_each_pass():
    images = np.arange(1, 6, dtype="float32").reshape(5, 1, 1, 1)
    labels = np.arange(5)
    cells = GridBatches(images, labels, 3, "location", 2, seed=0, passes=4)
    classes = GridBatches(images, labels, 3, "class", 2, seed=0, passes=4)
    assert len(cells) == 12
    seen = []
    for index in range(len(cells)):
        (canvases, where), (same, what) = cells[index], classes[index]
        canvases = np.asarray(canvases)
        np.testing.assert_array_equal(canvases, np.asarray(same))
        np.testing.assert_array_equal(canvases.reshape(-1, 9).argmax(1), where)
        np.testing.assert_array_equal(canvases.sum((1, 2, 3)) - 1, what)
        seen.append(where)
    passes = np.concatenate(seen).reshape(4, 5)
    assert len({tuple(cells) for cells in passes}) == 4


def sweep_row(ranking, count, task, accuracy):
    return {"ranking": ranking, "count": count, "task": task, "accuracy": accuracy}


def test_the_largest_effect_is_what_goes_beyond_random_channels():
    rows = []
    for task in tasks():
        for ranking in RANKINGS:
            hurts = {"position": "location", "cell": "location", "class": "class"}.get(ranking)
            for count, random, own in ((0, 90, 90), (4, 88, 50), (8, 30, 20)):
                accuracy = own if hurts == task else random
                rows.append(sweep_row(ranking, count, task, accuracy))
    position = ("accuracy", "position")
    count, found = largest_effect(rows, *position, task="location")
    assert (count, found["position"] - found["random"]) == (4, 38)
    assert largest_effect(swapped(rows), *position, task="location")[0] == 8
    lines = [line.split("|") for line in effect_table(rows).splitlines()[2:]]
    class_channels = [cell.strip() for cell in lines[2][1:-1]]
    assert class_channels[:2] == ["class channels", "4"]
    # Position channels by flips and by cells, class channels, random ones, the most active ones.
    costs = ["40.0 / 2.0", "40.0 / 2.0", "2.0 / 40.0", "2.0 / 2.0", "2.0 / 2.0"]
    assert class_channels[2:] == costs


def swapped(rows):
    """The rows of 4 channels as those of 8, and the other way round."""
    return [{**row, "count": {0: 0, 4: 8, 8: 4}[row["count"]]} for row in rows]


def test_rank_correlations_are_spearmans():
    def ranking(*channels):
        return ChannelRanking(channels, (0.0,) * 4, (1.0,) * 4, 1, {})

    found = rank_correlations(
        {"a": ranking(2, 0, 1, 3), "b": ranking(3, 1, 0, 2), "c": ranking(2, 0, 3, 1)}
    )
    # Spearman: 1 - 6 * sum(d^2) / (n * (n^2 - 1)); one swap of neighbors is 1 - 12 / 60.
    assert found == {"a/b": -1.0, "a/c": 0.8, "b/c": -0.8}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grid_size": 1}, r"`grid_size` must be at least 2. Received: grid_size=1"),
        ({"head_epochs": 0}, r"`head_epochs` must be at least 1"),
        ({"networks": ()}, r"`networks` must name one or more"),
        ({"counts": (-1,)}, r"`counts` must be at least 0"),
        ({"counts": (2, 2)}, r"`counts` must name one or more, each once"),
        ({"weights": "model.keras"}, r"name ends in \.weights\.h5"),
    ],
)
def test_bad_settings_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(tmp_path, **changes)


@pytest.mark.slow
def test_what_does_not_fit_is_said_before_training(tmp_path, finished, monkeypatch):
    monkeypatch.setattr(GridTask, "fit", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(ValueError, match=r"`counts` must be in \[0, 8\], the channels"):
        run(tiny(tmp_path / "counts", counts=(9,)))
    weights = str(finished[0] / "weights" / "gapnet_class_2x2.weights.h5")
    with pytest.raises(ValueError, match="`weights` must be those of a gapnet of the same depth"):
        run(tiny(tmp_path / "weights", weights=weights, width=2, counts=None))
    with pytest.raises(ValueError, match="`networks` must name the one network"):
        tiny(tmp_path, weights=weights, networks=("gapnet", "permutenet"))
    with pytest.raises(FileNotFoundError, match="`weights` is not there"):
        tiny(tmp_path, weights=weights.replace("class", "klass"))


@pytest.mark.slow
def test_a_network_that_is_not_there_is_named(finished):
    with pytest.raises(ValueError, match=r"Received: {'network': 'permutenet'"):
        Probe.load_network(finished[0], network="permutenet", task="class")


def test_every_setting_is_a_flag(monkeypatch, tmp_path):
    weights = tmp_path / "a.weights.h5"
    weights.touch()
    seen = []
    monkeypatch.setattr(Probe, "run", lambda self, console: seen.append(self.settings) or [])
    flags = f"--dataset mnist --data-dir d --output-dir o --networks permutenet --weights {weights}"
    flags += " --grid-size 4 --depth 34 --width 6 --epochs 3 --head-epochs 2 --batch-size 7"
    flags += " --learning-rate 0.1 --head-learning-rate 0.2 --flip --no-normalize --counts 1 2"
    flags += " --draws 3 --train-images 9"
    flags += " --rank-images 8 --test-images 7 --test-passes 2 --precision mixed_float16 --seed 5"
    flags += " --distribute jax --jit-compile off"
    assert cli.main(["run", "probe", *flags.split()]) == 0
    (settings,) = seen
    defaults = ProbeSettings()
    assert [k for k in vars(settings) if vars(settings)[k] == vars(defaults)[k]] == []
