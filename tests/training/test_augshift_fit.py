"""AugShift in stock `fit`, `evaluate`, saving and loading."""

import functools
import json

import keras
import numpy as np
import pytest
from keras import ops

import keras_gappos as kg
from keras_gappos.training import augshift
from tests.training.augshift_cases import (
    IMAGES,
    LABELS,
    LOSS,
    ON_TORCH,
    PAIR_METRICS,
    Batches,
    assert_same_weights,
    classifier,
    compiled,
    pair_offsets,
    trained,
)


def tf_data(dtype):
    tf = pytest.importorskip("tensorflow")
    pixels = (255 * IMAGES).astype(dtype)
    return tf.data.Dataset.from_tensor_slices((pixels, LABELS)).batch(8).repeat()


@functools.cache
def weights_after_training_on(highest):
    """Those that float32 arrays of whole numbers up to `highest` lead to."""
    model = compiled(kg.AugShift(classifier(), 3, seed=1))
    trained(model, np.floor(IMAGES * 255) if highest == 255 else IMAGES)
    return model.model.get_weights()


@pytest.mark.parametrize(
    ("data", "highest", "arguments"),
    [
        (lambda: [Batches()], 1, {}),
        (lambda: [tf_data("uint8")], 255, {"steps_per_epoch": 3}),
        (lambda: [tf_data("float64")], 255, {"steps_per_epoch": 3}),
        (lambda: [IMAGES.astype("float64"), LABELS[:, None]], 1, {"batch_size": 8}),
        (lambda: [(255 * IMAGES).astype("uint8"), LABELS], 255, {"batch_size": 8}),
        (
            lambda: [ops.convert_to_tensor(array) for array in (IMAGES, LABELS)],
            1,
            {"batch_size": 8},
        ),
    ],
    ids=["PyDataset", "tf.data uint8", "tf.data float64", "float64", "uint8", "tensors"],
)
def test_every_form_of_the_data_trains_as_float32_arrays_do(data, highest, arguments):
    in_a_graph = len(data()) == 1
    model = compiled(kg.AugShift(classifier(), 3, seed=1), run_eagerly=not in_a_graph)
    model.fit(*data(), epochs=2, shuffle=False, verbose=0, **arguments)
    for actual, expected in zip(model.model.get_weights(), weights_after_training_on(highest)):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(ON_TORCH, reason="Keras: `steps_per_execution` must be 1 on PyTorch")
def test_several_steps_per_execution_take_the_same_steps():
    model = compiled(kg.AugShift(classifier(), 3, seed=1), steps_per_execution=2)
    trained(model)
    for actual, expected in zip(model.model.get_weights(), weights_after_training_on(1)):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(ON_TORCH, reason="PyTorch has its own compiler, which takes minutes")
def test_random_shifts_train_under_xla():
    model = compiled(kg.AugShift(classifier(), 3, seed=1), jit_compile=True)
    model.optimizer.learning_rate = 0.0
    losses = trained(model, epochs=3, batch_size=24)["consistency_loss"]
    assert len(set(losses)) == 3
    assert min(losses) > 0


def test_loss_scaling_leaves_the_terms_gradient_as_it_is(monkeypatch):
    monkeypatch.setattr(augshift, "draw_offsets", pair_offsets((1, 0), (-2, 3)))

    def weights(optimizer):
        def no_task(labels, outputs):
            return 0.0 * ops.sum(outputs, axis=-1)

        model = kg.AugShift(classifier(batch_norm=False), 3, 25.0)
        trained(compiled(model, no_task, optimizer), batch_size=24, epochs=3)
        return model.model.get_layer("conv").get_weights()[0]

    before = classifier(batch_norm=False).get_layer("conv").get_weights()[0]
    exact = weights(keras.optimizers.SGD(0.5))
    keras.config.set_dtype_policy("mixed_float16")
    sgd = keras.optimizers.SGD(0.5)
    half = weights(keras.optimizers.LossScaleOptimizer(sgd, initial_scale=64.0))
    moved = np.abs(exact - before).max()
    assert moved > 0.05
    np.testing.assert_allclose(half, exact, atol=0.05 * moved)


@pytest.mark.tensorflow  # on the others it only takes longer
def test_a_model_of_named_tensors_trains_as_one_without_names():
    network = classifier()
    name, output = network.input.name, network.layers[-1].name
    images, labels, weights = {name: IMAGES}, {output: LABELS}, np.linspace(0, 2, 24)
    network = keras.Model({name: network.input}, {output: network.output})
    named, plain = (kg.AugShift(model, 3, 25.0, seed=1) for model in (network, classifier()))
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    by_name = {"loss": {output: LOSS}, "metrics": {output: ["accuracy"]}}
    named.compile(optimizer, **by_name, run_eagerly=True)
    compiled(plain, run_eagerly=True)
    arguments = {"epochs": 1, "batch_size": 12}
    expected = trained(plain, sample_weight=weights, **arguments)
    history = trained(named, images, labels, sample_weight={output: weights}, **arguments)
    assert_same_weights(named.model, plain.model)
    assert set(history) == set(expected)
    data = {"verbose": 0, "return_dict": True}
    expected = plain.evaluate(IMAGES, LABELS, **data)
    assert named.evaluate(images, labels, **data) == pytest.approx(expected, rel=1e-4)
    assert named.predict(images, verbose=0)[output].shape == (24, 10)


def two_headed(as_tuple=False):
    """A classifier with a second output, the image's brightness."""
    network = classifier(deep=True)
    latent = network.get_layer("latent").output
    sizes = {"digit": 10, "brightness": 1}
    outputs = {name: keras.layers.Dense(n, name=name)(latent) for name, n in sizes.items()}
    return keras.Model(network.input, tuple(outputs.values()) if as_tuple else outputs)


def test_several_outputs_each_have_their_loss():
    model = kg.AugShift(two_headed(), 2, 25.0, seed=1)
    labels = {"digit": LABELS, "brightness": IMAGES.mean((1, 2))}
    losses = {"digit": LOSS, "brightness": "mse"}
    model.compile(keras.optimizers.SGD(0.1), losses, metrics={"digit": ["accuracy"]})
    weights = {"digit": np.ones(24), "brightness": np.ones(24)}
    history = trained(model, IMAGES, labels, epochs=4, sample_weight=weights)
    assert set(history) == {
        "loss",
        "digit_loss",
        "brightness_loss",
        "digit_accuracy",
        "consistency_loss",
    }
    parts = [history[name][0] for name in ("digit_loss", "brightness_loss", "consistency_loss")]
    assert history["loss"][0] == pytest.approx(parts[0] + parts[1] + 25 * parts[2], rel=1e-3)
    assert history["consistency_loss"][-1] < history["consistency_loss"][0]
    results = model.evaluate(IMAGES, labels, verbose=0, return_dict=True)
    assert set(results) == {"loss", "digit_loss", "brightness_loss", "digit_accuracy"}
    assert model.predict(IMAGES, verbose=0)["brightness"].shape == (24, 1)


def test_a_tuple_of_outputs_is_not_taken_for_a_pair():
    model = kg.AugShift(two_headed(as_tuple=True), 2, seed=1)
    model.compile("sgd", (LOSS, "mse"))
    labels = (LABELS, IMAGES.mean((1, 2)))
    assert "consistency_loss" in trained(model, IMAGES, labels, epochs=1)
    results = model.evaluate(IMAGES, labels, verbose=0, return_dict=True)
    expected = model.model
    expected.compile("sgd", (LOSS, "mse"))
    assert results["loss"] == pytest.approx(expected.evaluate(IMAGES, labels, verbose=0)[0])


def test_callbacks_see_the_pairs_in_training_and_the_inner_model_in_validation():
    class Recorder(keras.callbacks.Callback):
        keys = {}

        def on_train_batch_end(self, batch, logs=None):
            self.keys["train"] = set(logs)

        def on_test_batch_end(self, batch, logs=None):
            self.keys["test"] = set(logs)

        def on_epoch_end(self, epoch, logs=None):
            self.keys["epoch"] = set(logs)

    recorder = Recorder()
    model = compiled(kg.AugShift(classifier(), 3, seed=1))
    stop = keras.callbacks.EarlyStopping("shift_agreement", 2.0, patience=1, mode="max")
    history = trained(
        model, batch_size=9, epochs=4, validation_split=0.25, callbacks=[recorder, stop]
    )
    task = {"loss", "accuracy"}
    assert recorder.keys == {
        "train": task | PAIR_METRICS,
        "test": task,
        "epoch": task | PAIR_METRICS | {"val_loss", "val_accuracy"},
    }
    assert set(history) == recorder.keys["epoch"]
    assert len(history["loss"]) == 2  # stopped by a metric of the pairs, which rose by less than 2


def test_evaluate_and_predict_are_the_inner_models(tmp_path):
    model = compiled(kg.AugShift(classifier(), 3, seed=1))
    data = {"x": IMAGES, "y": LABELS, "batch_size": 8, "verbose": 0}
    model.evaluate(**data)
    trained(model, epochs=1, validation_data=(IMAGES, LABELS))
    inner = compiled(keras.models.clone_model(model.model))
    inner.set_weights(model.model.get_weights())
    expected = inner.evaluate(**data, return_dict=True)
    assert model.evaluate(**data, return_dict=True) == expected
    assert model.evaluate(**data) == inner.evaluate(**data)
    batch = IMAGES[:8], LABELS[:8]
    assert model.test_on_batch(*batch) == inner.test_on_batch(*batch)
    expected = inner.test_on_batch(*batch, return_dict=True)
    assert model.test_on_batch(*batch, return_dict=True) == expected
    expected = inner.predict(IMAGES, verbose=0)
    np.testing.assert_array_equal(model.predict(IMAGES, verbose=0), expected)
    model.model.save_weights(tmp_path / "model.weights.h5")
    plain = keras.models.clone_model(model.model)
    plain.load_weights(tmp_path / "model.weights.h5")
    assert_same_weights(plain, model.model, rtol=0)


def test_train_on_batch_gives_its_logs_as_a_list_too():
    model = compiled(kg.AugShift(classifier(), max_shift=0), optimizer=keras.optimizers.SGD(0.0))
    logs = model.train_on_batch(IMAGES, LABELS, return_dict=True)
    assert set(logs) == {"loss", "accuracy"} | PAIR_METRICS
    as_list = model.train_on_batch(IMAGES, LABELS)
    assert sorted(map(float, as_list)) == pytest.approx(sorted(map(float, logs.values())), rel=1e-5)


def test_a_mixed_float16_classifier_is_scaled_whatever_the_policy_is_now():
    keras.config.set_dtype_policy("mixed_float16")
    model = classifier()
    keras.config.set_dtype_policy("float32")
    ours, stock = compiled(kg.AugShift(model)), compiled(model)
    assert isinstance(stock.optimizer, keras.optimizers.LossScaleOptimizer)
    assert isinstance(ours.optimizer, keras.optimizers.LossScaleOptimizer)
    plain = classifier()
    keras.config.set_dtype_policy("mixed_float16")
    np.testing.assert_array_equal(
        kg.AugShift(plain).predict(IMAGES, verbose=0), plain.predict(IMAGES, verbose=0)
    )


ARGUMENTS = {
    "max_shift": 2,
    "consistency_weight": 3.5,
    "fill_mode": "reflect",
    "seed": 9,
    "fill_value": 0.5,
}


def test_round_trips_with_its_arguments_and_goes_on_as_if_not_interrupted(tmp_path):
    def fresh():
        model = kg.AugShift(classifier(), latent="conv", name="aug", **ARGUMENTS)
        return compiled(model, optimizer=keras.optimizers.Adam(0.01))

    straight, broken = fresh(), fresh()
    trained(straight, epochs=3)
    trained(broken, epochs=1)
    broken.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    assert int(reloaded.optimizer.iterations) == 3
    rebuilt = kg.AugShift.from_config(json.loads(json.dumps(broken.get_config())))
    for model in (reloaded, keras.models.clone_model(broken), rebuilt):
        assert {name: getattr(model, name) for name in ARGUMENTS} == ARGUMENTS
        assert (model.latent, model.name) == ("conv", "aug")
    expected = broken.predict(IMAGES, verbose=0)
    np.testing.assert_array_equal(reloaded.predict(IMAGES, verbose=0), expected)
    trained(reloaded, epochs=2)
    assert_same_weights(reloaded, straight, rtol=1e-5, atol=1e-6)


@pytest.mark.tensorflow
def test_exports_the_inner_model(tmp_path):
    import tensorflow as tf

    model = kg.AugShift(classifier(), 3)
    model.export(tmp_path / "saved", verbose=False)
    exported = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(
        exported.serve(IMAGES), model.model.predict(IMAGES, verbose=0), rtol=1e-4
    )
