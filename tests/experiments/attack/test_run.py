import dataclasses
import json
import pathlib

import keras
import numpy as np
import pytest
from keras import layers

from keras_gappos import data
from keras_gappos.analysis import ChannelRanking, ablate
from keras_gappos.experiments.attack import run as attack
from keras_gappos.experiments.attack.data import load_segmentation
from keras_gappos.experiments.attack.networks import compile_for_training
from keras_gappos.experiments.attack.run import Attack
from keras_gappos.experiments.attack.settings import AttackSettings
from keras_gappos.zoo.loading import load_given_weights

SIZE = (16, 24)


def run(settings):
    return Attack(settings).run()


def tiny(folder, **changes):
    settings = AttackSettings(
        output_dir=str(folder),
        size=SIZE,
        width=4,
        epochs=1,
        batch_size=4,
        counts=(2, 4),
        draws=2,
        train_images=8,
        test_images=6,
    )
    return dataclasses.replace(settings, **changes)


def small_network(settings, image_shape, num_classes):
    """One convolution in place of a ResNet, which takes ten seconds to compile."""
    inputs = keras.Input(tuple(image_shape))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(inputs)
    features = layers.Identity(name="features")(layers.BatchNormalization()(x))
    pooled = layers.Dense(num_classes)(layers.GlobalAveragePooling2D(name="latent")(features))
    head = layers.ReLU(name="head_relu")(layers.Conv2D(3, 1)(layers.Dropout(0.1)(features)))
    local = layers.Conv2D(num_classes, 1)(head)
    return keras.Model(inputs, layers.Add()([local, layers.Reshape((1, 1, -1))(pooled)]))


@pytest.fixture
def small(monkeypatch):
    """Runs without what takes time and is no part of the rows."""
    monkeypatch.setattr(attack, "build_network", small_network)
    monkeypatch.setattr(Attack, "write_report", lambda _: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run with a DeepLabv3."""
    folder = tmp_path_factory.mktemp("finished")
    run(tiny(folder))
    return folder


def rows_of(folder):
    return json.loads((folder / "results.json").read_text())["rows"]


def keys(rows):
    return [(row["flip"], row["ranking"], row["count"], row["region"]) for row in rows]


def all_keys(flip, counts=(0, 2, 4)):
    rankings = ("overall", "left", "right", "random", "most_active")
    regions = ("whole", "left", "right")
    swept = {(flip, name, n, part) for name in rankings for n in counts for part in regions}
    return swept | {(flip, "none", 0, "whole")}


@pytest.mark.slow
def test_a_run_leaves_rows_table_figure_rankings_predictions_and_weights(finished):
    content = json.loads((finished / "results.json").read_text())
    rows = content["rows"]
    assert len(rows) == 46
    assert set(keys(rows)) == all_keys(False)
    network = rows[-1]
    assert (network["ranking"], network["channels"], network["epochs"]) == ("none", 32, 1)
    assert (network["train_images"], network["rank_images"], network["test_images"]) == (8, 8, 6)
    assert network["effect_count"] in (2, 4)
    # With nothing switched off it does not matter what the channels were chosen for.
    whole = [r for r in rows if (r["count"], r["region"]) == (0, "whole")]
    assert {row["miou"] for row in whole} == {network["miou"]}
    for region in ("overall", "left", "right"):
        ranking = ChannelRanking.from_json(finished / network["rankings"][region])
        assert sorted(ranking.channels) == list(range(32))
        assert (ranking.settings["region"], ranking.num_images) == (region, 8)
    assert (finished / network["weights"]).is_file()
    assert "## Trained without flips" in (finished / "table.md").read_text()
    assert (finished / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert {row["backend"] for row in rows} == {content["environment"]["backend"]}
    assert not (finished / "backup").exists()


@pytest.mark.slow
def test_the_saved_network_predicts_what_the_run_saved_and_scored(finished):
    rows = rows_of(finished)
    row, network = rows[-1], Attack.load_network(finished)
    images, masks = data.load("shapes", "test", limit=6, size=SIZE)
    with np.load(finished / row["predictions"]) as maps:
        index, before, overall = (maps[name] for name in ("index", "before", "overall"))
        np.testing.assert_array_equal(maps["truth"], masks[index])
    x = images.astype("float32") / 255
    classes = predicted(network, x)
    assert (classes[index] == before).mean() > 0.99
    ranking = ChannelRanking.from_json(finished / row["rankings"]["overall"])
    count = row["effect_count"]
    off = predicted(ablate(network, ranking.channels[:count]), x)
    assert (off[index] == overall).mean() > 0.99
    swept = {(r["ranking"], r["count"], r["region"]): r["miou"] for r in rows}
    half = slice(None), slice(None), slice(12, None)
    for decided, scored in ((classes, ("none", 0)), (off, ("overall", count))):
        assert miou_of(masks, decided) == pytest.approx(swept[(*scored, "whole")], abs=0.1)
    assert miou_of(masks[half], off[half]) == pytest.approx(
        swept["overall", count, "right"], abs=0.1
    )


def predicted(network, images):
    return keras.ops.convert_to_numpy(network(images, training=False)).argmax(-1)


def miou_of(truth, classes):
    """The mean over the classes that the truth has, in percent."""
    pairs = [(truth == label, classes == label) for label in np.unique(truth)]
    return 100 * np.mean([(t & p).sum() / (t | p).sum() for t, p in pairs])


@pytest.mark.slow
def test_a_finished_run_is_not_made_again(finished, monkeypatch):
    before = (finished / "results.json").read_text()
    (finished / "figure.png").unlink()
    monkeypatch.setattr(attack, "build_network", lambda *_: pytest.fail("it began again"))
    assert len(run(tiny(finished, show_images=False))) == 46
    assert (finished / "results.json").read_text() == before
    assert (finished / "figure.png").exists()


@pytest.mark.slow
def test_results_of_other_settings_are_left_alone(finished):
    with pytest.raises(ValueError, match=r"holds results of other settings: counts is \[2, 4\]"):
        run(tiny(finished, counts=(3,)))


@pytest.mark.slow
def test_a_network_that_is_not_there_is_named(finished):
    with pytest.raises(ValueError, match=r"Received: {.flip.: True}; .* \[{.flip.: False}\]"):
        Attack.load_network(finished, flip=True)


@pytest.mark.slow
def test_a_run_stopped_after_its_sweep_has_every_row_once_when_it_goes_on(
    tmp_path, small, monkeypatch
):
    save, trained = Attack.save_weights, []

    def interrupted(self, network, name):
        if name == "deeplabv3_flips":  # the sweep's rows are known, the network's row is not
            raise KeyboardInterrupt
        return save(self, network, name)

    settings = tiny(tmp_path, flips=(False, True))
    with monkeypatch.context() as patch:
        patch.setattr(Attack, "save_weights", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(settings)
    before = rows_of(tmp_path)
    assert set(keys(before)) == all_keys(False)
    compile_network = attack.compile_for_training
    monkeypatch.setattr(
        attack, "compile_for_training", lambda *a: trained.append(a) or compile_network(*a)
    )
    rows = run(settings)
    assert len(trained) == 1
    assert rows[:46] == before
    assert len(rows) == 92
    assert set(keys(rows)) == all_keys(False) | all_keys(True)
    assert rows == rows_of(tmp_path)


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path, small, monkeypatch
):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 3:  # in the second epoch, of two steps
                raise KeyboardInterrupt

    settings = {"epochs": 3, "flips": (True,), "scale": (0.8, 1.25)}
    run(tiny(tmp_path / "straight", **settings))
    fit = Attack.fit

    def interrupted(*args, callbacks=(), **kwargs):
        return fit(*args, callbacks=[*callbacks, Interrupt()], **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Attack, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tiny(tmp_path / "broken", **settings))
    assert not (tmp_path / "broken" / "results.json").exists()
    keras.utils.set_random_seed(99)
    rows = run(tiny(tmp_path / "broken", **settings))
    assert rows[-1]["epochs"] == 3
    networks = [Attack.load_network(tmp_path / name, flip=True) for name in ("straight", "broken")]
    for one, other in zip(*(network.get_weights() for network in networks), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_given_weights_are_attacked_as_the_network_that_they_are_of(tmp_path, small, monkeypatch):
    rows = run(tiny(tmp_path / "trained"))
    weights = str(tmp_path / "trained" / rows[-1]["weights"])
    monkeypatch.setattr(Attack, "fit", lambda *_, **__: pytest.fail("it trained"))
    # No batch of so many images can be made, and none is needed.
    again = run(tiny(tmp_path / "given", weights=weights, batch_size=9))
    assert [row["miou"] for row in again] == pytest.approx([row["miou"] for row in rows])
    assert (again[-1]["epochs"], again[-1]["flip"]) == (0, False)


def test_the_heads_channels_are_ranked_and_switched_off_where_asked_for(tmp_path, small):
    rows = run(tiny(tmp_path, latent="head_relu", counts=(1, 3)))
    row, network = rows[-1], Attack.load_network(tmp_path)
    assert row["channels"] == 3
    ranking = ChannelRanking.from_json(tmp_path / row["rankings"]["left"])
    assert (ranking.settings["latent"], len(ranking.channels)) == ("head_relu", 3)
    images, _ = data.load("shapes", "test", limit=6, size=SIZE)
    off = ablate(network, ranking.channels[: row["effect_count"]], "head_relu")
    with np.load(tmp_path / row["predictions"]) as maps:
        x = images[maps["index"]].astype("float32") / 255
        assert (predicted(off, x) == maps["left"]).mean() > 0.99


def test_weights_of_another_network_are_refused(tmp_path):
    small_network(None, (8, 8, 3), 7).save_weights(tmp_path / "seven.weights.h5")
    (tmp_path / "damaged.weights.h5").write_text("not HDF5")
    for name in ("seven", "damaged"):
        with pytest.raises(ValueError, match=rf"`weights` must be those .*{name}.weights.h5'"):
            network = small_network(None, (8, 8, 3), 5)
            load_given_weights(network, tmp_path / f"{name}.weights.h5", "such a network")


def test_ignored_pixels_do_not_train_and_weight_decay_shrinks_kernels_only(tmp_path):
    network = small_network(None, (4, 4, 3), 7)
    settings = tiny(tmp_path, learning_rate=0.1, weight_decay=0.5)
    compile_for_training(settings, network, ignore_class=7, steps=10)
    zeros = [keras.ops.zeros(variable.shape) for variable in network.trainable_variables]
    before = [keras.ops.convert_to_numpy(v) + 0 for v in network.trainable_variables]
    network.optimizer.apply(zeros, network.trainable_variables)
    for variable, old in zip(network.trainable_variables, before, strict=True):
        share = 1 - 0.1 * 0.5 if variable.name == "kernel" else 1.0
        new = keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(new, share * old, rtol=1e-5, atol=1e-7)
    ignored = np.full((2, 4, 4), 7)
    assert network.evaluate(np.ones((2, 4, 4, 3)), ignored, verbose=0) == pytest.approx(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, r"`width` must be at least 1. Received: width=0"),
        ({"draws": 0}, r"`draws` must be at least 1"),
        ({"rank_images": 0}, r"`rank_images` must be at least 1"),
        ({"ignore_class": -1}, r"`ignore_class` must be at least 0"),
        ({"learning_rate": 0.0}, r"`learning_rate` must be above 0"),
        ({"flips": (True, True)}, r"`flips` must name one or more, each once"),
        ({"counts": ()}, r"`counts` must name one or more, each once"),
        ({"counts": (-1, 3)}, r"`counts` must be at least 0. Received: counts=\(-1, 3\)"),
        ({"scale": (2.0, 0.5)}, r"`scale` must be the smallest and the largest"),
        ({"size": (0, 24)}, r"`size` must be at least 1 pixel. Received: size=\(0, 24\)"),
        ({"crop": (8, 0)}, r"`crop` must be at least 1 pixel"),
        ({"seed": -1}, r"`seed` must be in"),
        ({"weights": "w.keras"}, r"`weights` must be a file .* ends in .weights.h5"),
    ],
)
def test_bad_settings_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(tmp_path, **changes)


def test_weights_that_are_not_there_or_said_to_be_of_two_networks_are_refused(tmp_path):
    path = tmp_path / "a.weights.h5"
    with pytest.raises(FileNotFoundError, match=r"`weights` is not there. .*a.weights.h5"):
        tiny(tmp_path, weights=str(path))
    path.write_text("")
    with pytest.raises(ValueError, match=r"`flips` must say how the one network of `weights`"):
        tiny(tmp_path, weights=str(path), flips=(False, True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": (2, 5)}, r"`counts` must be in \[0, 4\], .* counts=\(2, 5\)"),
        ({"counts": (0,)}, r"`counts` must be .* one be above 0"),
        ({"train_images": 3}, r"at least one batch .* 3 images, batch_size=4"),
        ({"dataset": "digits", "size": None}, r"`dataset` must be a data set with masks"),
        (
            {"num_classes": 3},
            r"`num_classes` and `ignore_class` of 'shapes' are known: leave them out",
        ),
    ],
)
def test_settings_that_do_not_fit_the_data_are_named_before_training(
    tmp_path, small, monkeypatch, changes, message
):
    monkeypatch.setattr(Attack, "fit", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(ValueError, match=message):
        run(tiny(tmp_path, **changes))


@pytest.mark.parametrize(
    ("labels", "changes", "message"),
    [
        ([[0, 5]], {"num_classes": 3}, r"labels in \[0, 3\), or 3 to ignore. .*labels \[0, 5\]"),
        (
            [[9, 1]],
            {"num_classes": 3, "ignore_class": 9},
            r"both halves. Received: only ignored pixels in 'left'",
        ),
        ([[9, 9]], {"ignore_class": 9}, r"a data set with labels \[\]"),
    ],
)
def test_masks_that_do_not_fit_are_named(tmp_path, monkeypatch, labels, changes, message):
    masks = np.array([labels] * 4)
    monkeypatch.setattr(data, "load", lambda *_, **__: (np.zeros((4, 1, 2, 3), "uint8"), masks))
    with pytest.raises(ValueError, match=message):
        load_segmentation(tiny(tmp_path, dataset="streets", **changes))


def test_the_classes_of_an_unknown_data_set_are_counted(tmp_path, monkeypatch):
    masks = np.array([[[0, 4]], [[9, 2]]] * 4)
    monkeypatch.setattr(data, "load", lambda *_, **__: (np.zeros((8, 1, 2, 3), "uint8"), masks))
    info = load_segmentation(tiny(tmp_path, dataset="streets", ignore_class=9)).info
    assert (info.num_classes, info.ignore_class, len(set(info.colors))) == (5, 9, 5)
    assert info.class_names[4] == "class 4"


def test_the_numbers_of_channels_are_shares_of_them_or_those_given():
    settings = AttackSettings()
    assert settings.counts_of(512) == (0, 16, 32, 64, 96, 128, 192, 256, 384, 512)
    assert settings.counts_of(20) == (0, 1, 2, 3, 4, 5, 8, 10, 15, 20)  # rounded up
    assert AttackSettings(counts=(8, 3)).counts_of(20) == (0, 3, 8)


def test_mirrored_images_train_where_they_do_not_contradict_their_masks(tmp_path):
    assert (AttackSettings().trainings, AttackSettings().scales) == ((False,), (1.0, 1.0))
    assert AttackSettings().scored_split == "test"
    camvid = AttackSettings(dataset="camvid")
    assert (camvid.trainings, camvid.scales) == ((False, True), (0.5, 2.0))
    assert camvid.scored_split == "validation"
    path = tmp_path / "a.weights.h5"
    path.write_text("")
    assert AttackSettings(dataset="camvid", weights=str(path)).trainings == (False,)
    assert pathlib.Path(AttackSettings().output_dir).parts == ("results", "attack")
