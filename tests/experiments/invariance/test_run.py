import dataclasses
import json
from typing import get_args

import keras
import numpy as np
import pytest

from keras_gappos import data, models
from keras_gappos.experiments.invariance import run as invariance
from keras_gappos.experiments.invariance import zoo_entry
from keras_gappos.experiments.invariance.methods import METHODS, Method
from keras_gappos.experiments.invariance.networks import (
    build_network,
    make_optimizer,
    trained_model,
)
from keras_gappos.experiments.invariance.run import Invariance, choose_weight
from keras_gappos.experiments.invariance.settings import InvarianceSettings, MethodName


def run(settings):
    return Invariance(settings).run()


def tiny(folder, **changes):
    settings = InvarianceSettings(
        dataset="digits",
        output_dir=str(folder),
        methods=("augshift",),
        width=2,
        epochs=1,
        batch_size=32,
        max_shift=1,
        consistency_weights=(10.0,),
        search_epochs=1,
        validation_images=40,
        train_images=140,
        test_images=50,
        pairs=2,
    )
    return dataclasses.replace(settings, **changes)


def build_small_network(settings, method, image_shape, num_classes):
    """One convolution in place of a ResNet, which takes ten seconds to compile."""
    return keras.Sequential(
        [
            keras.Input(tuple(image_shape)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(num_classes, dtype="float32"),
        ]
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a run of one row, of a ResNet."""
    folder = tmp_path_factory.mktemp("finished")
    run(tiny(folder))
    return folder


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(invariance, "build_network", build_small_network)


def rows_of(folder):
    return json.loads((folder / "results.json").read_text())["rows"]


def test_a_run_leaves_rows_table_and_weights(finished):
    (row,) = rows_of(finished)
    assert (row["method"], row["split"], row["consistency_weight"]) == ("augshift", "test", 10.0)
    assert (row["epochs"], row["train_images"], row["test_images"]) == (1, 140, 50)
    assert (finished / row["weights"]).is_file()
    assert "AugShift" in (finished / "table.md").read_text()
    assert not (finished / "figure.png").exists()  # nothing to compare
    assert not (finished / "backup").exists()


def test_the_scores_of_a_row_fit_together(finished):
    (row,) = rows_of(finished)
    accuracies = np.array(row["accuracy_map"])
    assert accuracies.shape == (3, 3)
    assert accuracies[1, 1] == pytest.approx(row["top1"], abs=0.01)  # the shift by nothing
    assert accuracies.mean() == pytest.approx(row["accuracy_over_shifts"], abs=0.01)
    assert 0 <= row["worst_case"] <= accuracies.min()
    assert 0 <= row["consistency_circular"] <= 100
    # Two estimates of one probability; 50 images.
    difference = abs(row["consistency_random"] - row["consistency_exact"])
    assert difference < 5 * row["consistency_random_stderr"] + 1


def test_a_finished_network_is_loaded_and_scores_what_its_row_says(finished):
    (row,) = rows_of(finished)
    network = Invariance.load_network(finished, method="augshift")
    images, labels = data.load("digits", "test", limit=50)
    images = (images.astype("float32") / 255 - row["mean"][0]) / row["std"][0]
    named = network.predict(images, verbose=0).argmax(-1)
    assert 100 * np.mean(named == labels) == pytest.approx(row["top1"], abs=2.1)


def test_a_row_that_is_not_there_is_named(finished):
    with pytest.raises(ValueError, match=r"Received: {'method': 'aps'}; .* there: .*'augshift'"):
        Invariance.load_network(finished, method="aps")


@pytest.mark.slow
def test_methods_are_added_to_a_folder_and_the_command_gives_them_all(tmp_path, small, monkeypatch):
    run(tiny(tmp_path, methods=("aps",)))
    before = rows_of(tmp_path)
    rows = run(tiny(tmp_path, methods=("resnet18",)))
    assert rows[:1] == before
    assert [row["method"] for row in rows] == ["aps", "resnet18"]
    content = json.loads((tmp_path / "results.json").read_text())
    assert "--methods resnet18 aps --" in content["command"]
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("it trained again"))
    assert run(tiny(tmp_path, methods=("aps", "resnet18"))) == rows


@pytest.mark.slow
def test_weights_are_tried_on_held_out_images_before_augshift_uses_one(tmp_path, small):
    weights = (1.0, 100.0)
    methods = ("aps", "augshift", "resnet18")
    rows = run(tiny(tmp_path, methods=methods, consistency_weights=weights, search_images=96))
    assert [(row["method"], row["split"], row.get("consistency_weight")) for row in rows[:3]] == [
        ("resnet18", "test", None),
        ("augshift", "validation", 1.0),
        ("augshift", "validation", 100.0),
    ]
    assert [(row["train_images"], row["test_images"]) for row in rows[1:3]] == [(96, 40)] * 2
    assert [row["method"] for row in rows[3:]] == ["augshift", "aps"]
    assert rows[3]["consistency_weight"] == choose_weight(rows[1:3], 1.0)
    assert rows[3]["train_images"] == 140
    assert "## The consistency weight" in (tmp_path / "table.md").read_text()


def test_weights_on_trial_see_neither_test_images_nor_what_they_are_scored_on(tmp_path):
    settings = tiny(tmp_path, consistency_weights=(1.0, 2.0))
    experiment = Invariance(settings)
    images = experiment.data
    key = {"method": "augshift", "split": "validation", "consistency_weight": 1.0}
    train, _, scored, labels, _ = experiment._split(key)
    np.testing.assert_array_equal(np.concatenate([train, scored]), images.train_images)
    np.testing.assert_array_equal(labels, images.train_labels[-40:])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["augshift", "resnet18"])
def test_an_interrupted_training_ends_with_the_weights_of_an_uninterrupted_one(
    method, tmp_path, small, monkeypatch
):
    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 7:  # in the second epoch, of four steps
                raise KeyboardInterrupt

    settings = {"methods": (method,), "epochs": 3}
    run(tiny(tmp_path / "straight", **settings))
    fit = Invariance.fit

    def interrupted(*args, callbacks=(), **kwargs):
        return fit(*args, callbacks=[*callbacks, Interrupt()], **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Invariance, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tiny(tmp_path / "broken", **settings))
    assert not (tmp_path / "broken" / "results.json").exists()
    keras.utils.set_random_seed(99)
    run(tiny(tmp_path / "broken", **settings))
    networks = [
        Invariance.load_network(tmp_path / name, method=method) for name in ("straight", "broken")
    ]
    for one, other in zip(*(network.get_weights() for network in networks), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("train_shift", "used"), [(None, 1), (3, 3)])
@pytest.mark.parametrize("method", ["augshift", "resnet18"])
def test_training_shifts_by_a_range_and_with_a_border_of_its_own(
    method, train_shift, used, tmp_path
):
    settings = tiny(tmp_path, train_shift=train_shift, fill_mode="wrap")
    network = build_small_network(settings, method, (8, 8, 1), 10)
    model = trained_model(settings, method, network, 1.0, steps=5)
    shifting = model if method == "augshift" else model.layers[1]
    assert (shifting.max_shift, shifting.fill_mode) == (used, "wrap")


def test_augshift_on_aps_is_a_polyphase_network(tmp_path):
    network = build_network(tiny(tmp_path), "augshift_aps", (8, 8, 1), 10)
    layers = [layer.name for layer in network._flatten_layers()]
    assert any("polyphase" in name for name in layers)


def test_a_circular_polyphase_network_is_consistent_under_circular_shifts(tmp_path):
    experiment = Invariance(tiny(tmp_path, methods=("aps_circular",), width=4))
    key = {"method": "aps_circular", "split": "test"}
    network = experiment.build(key, (8, 8, 1), 10)
    if keras.backend.backend() == "tensorflow":
        network.compile(run_eagerly=True)  # which is faster for so few images
    head = network.get_layer("logits")  # so that it names several classes
    head.bias.assign(-network.predict(experiment.data.test_images, verbose=0).mean(0))
    row = experiment.measure(key, network)
    assert (row["consistency_circular"], row["consistency_circular_stderr"]) == (100, 0)
    assert row["consistency_random"] < 100
    assert row["num_predicted_classes"] > 1


@pytest.mark.slow
def test_a_circular_method_is_trained_published_and_named(tmp_path):
    (row,) = run(tiny(tmp_path, methods=("lps_circular",)))
    assert row["consistency_circular"] == 100
    assert "LPS, circular" in (tmp_path / "table.md").read_text()
    settings = json.loads((tmp_path / "results.json").read_text())["settings"]
    ((_, entry),) = zoo_entry.entries(settings, row)
    assert entry["name"] == "lps_circular_resnet18.digits"
    assert entry["metrics"]["consistency_circular"] == 100
    weights = Invariance.load_network(tmp_path, method="lps_circular").get_weights()
    built = models.resnet(**entry["arguments"])
    assert [w.shape for w in built.get_weights()] == [w.shape for w in weights]


def trial(weight, top1, consistency, **more):
    scores = {"top1": top1, "consistency_exact": consistency, **more}
    return {"consistency_weight": weight, **scores}


ONE_CLASS = {"num_predicted_classes": 1}


@pytest.mark.parametrize(
    ("rows", "weight"),
    [
        ([trial(1, 90.0, 80.0), trial(10, 89.0, 85.0), trial(100, 88.9, 99.0)], 10),
        ([trial(1, 90.0, 86.0), trial(10, 89.5, 85.0)], 1),
        ([trial(10, 90.0, 85.0), trial(1, 89.5, 85.0)], 1),  # equally good: the smaller one
        ([trial(5, 10.0, 100.0)], 5),
        ([trial(1, 11.5, 60.0), trial(10, 11.5, 100.0, **ONE_CLASS)], 1),
        ([trial(1, 11.0, 60.0, num_predicted_classes=9), trial(10, 11.5, 100.0, **ONE_CLASS)], 1),
        ([trial(5, 11.5, 100.0, **ONE_CLASS)], 5),
    ],
)
def test_the_most_consistent_of_the_accurate_weights_is_chosen(rows, weight):
    assert choose_weight(rows, tolerance=1.0) == weight


def test_the_learning_rate_rises_and_falls_to_zero(tmp_path):
    settings = tiny(tmp_path, batch_size=64, learning_rate=0.1, warmup=0.1)
    schedule = make_optimizer(settings, steps=100)._learning_rate
    rates = [float(keras.ops.convert_to_numpy(schedule(step))) for step in (0, 5, 10, 55, 100)]
    assert rates == pytest.approx([0, 0.025, 0.05, 0.025, 0], abs=1e-6)


def test_weight_decay_shrinks_kernels_only(tmp_path):
    network = build_small_network(None, None, (8, 8, 1), 10)
    optimizer = make_optimizer(tiny(tmp_path, warmup=0.0, weight_decay=0.5), steps=10)
    optimizer.build(network.trainable_variables)
    optimizer.iterations.assign(1)  # the highest rate: 0.1 for batches of 128, these are of 32
    for variable in network.trainable_variables:
        variable.assign(keras.ops.ones(variable.shape))
    zeros = [keras.ops.zeros(variable.shape) for variable in network.trainable_variables]
    optimizer.apply(zeros, network.trainable_variables)
    for variable in network.trainable_variables:
        expected = 1 - 0.025 * 0.5 if variable.name == "kernel" else 1.0
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, r"`width` must be at least 1. Received: width=0"),
        ({"max_shift": 0}, r"`max_shift` must be at least 1"),
        ({"train_shift": 0}, r"`train_shift` must be at least 1"),
        ({"weight_decay": -1.0}, r"`weight_decay` must be at least 0"),
        ({"methods": ("aps", "aps")}, r"`methods` must name one or more, each once"),
        ({"consistency_weights": ()}, r"`consistency_weights` must name one or more"),
        ({"consistency_weights": (-1.0,)}, r"`consistency_weights` must be at least 0"),
        ({"warmup": 1.0}, r"`warmup` must be in \[0, 1\)"),
        ({"label_smoothing": -0.1}, r"`label_smoothing` must be in \[0, 1\). Received: label_smoo"),
        ({"search_images": 31}, r"`search_images` must be at least one batch"),
        ({"seed": -1}, r"`seed` must be in"),
    ],
)
def test_bad_settings_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_shift": 8}, r"`max_shift` must be smaller than the image, in \[1, 8\)"),
        ({"train_shift": 8}, r"`train_shift` must be smaller than the image, .*train_shift=8,"),
        (
            {"consistency_weights": (1.0, 2.0), "validation_images": 120},
            r"must fit into the training images. Received: validation_images=120",
        ),
        ({"train_images": 10}, r"at least one batch .* 10 images, batch_size=32"),
    ],
)
def test_settings_that_do_not_fit_the_images_are_named_before_training(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run(tiny(tmp_path, **changes))


def test_the_defaults_compare_all_methods_at_the_papers_size():
    settings = InvarianceSettings()
    assert (settings.dataset, settings.depth, settings.width) == ("cifar10", 18, 64)
    assert settings.methods == tuple(METHODS)[:7]
    assert settings.methods[:3] == ("resnet18", "blurpool", "augshift")
    assert get_args(MethodName) == tuple(METHODS)
    assert settings.weights_on_trial == (1.0, 10.0, 100.0)
    assert InvarianceSettings(methods=("resnet18", "aps")).weights_on_trial == ()
    assert InvarianceSettings(consistency_weights=(3.0,)).weights_on_trial == ()


def test_what_a_method_costs():
    once, twice, unshifted = (Method("", "", views=views) for views in (1, 2, 0))
    assert (once.cost, twice.cost, unshifted.cost) == (1, 2, 1)
    half = METHODS["augshift_half"]
    assert half.cost * half.epochs(24) == METHODS["resnet18"].cost * 24
    assert half.epochs(1) == 1


def test_unshifted_methods_train_the_network_itself(tmp_path):
    network = build_small_network(None, None, (8, 8, 1), 10)
    assert trained_model(tiny(tmp_path), "aps_unshifted", network, None, steps=5) is network


def test_label_smoothing_is_in_the_loss(tmp_path):
    network = build_small_network(None, None, (8, 8, 1), 10)
    settings = tiny(tmp_path, label_smoothing=0.2)
    model = trained_model(settings, "resnet18_unshifted", network, None, steps=5)
    logits, label = np.log(np.full((1, 10), 0.1) + np.eye(10)[:1]), np.eye(10)[:1]
    log_softmax = logits - np.log(np.exp(logits).sum())
    expected = -((0.8 * label + 0.02) * log_softmax).sum()
    assert float(model.compute_loss(y=label, y_pred=logits)) == pytest.approx(expected, rel=1e-5)
