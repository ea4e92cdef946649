import functools
import json
import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_gappos as kg
from keras_gappos.layers import shift_images
from keras_gappos.training import augshift

DIGITS, DIGIT_LABELS = kg.data.load("digits", "train")
DIGITS = (DIGITS / 255).astype("float32")
IMAGES, LABELS = DIGITS[:24], DIGIT_LABELS[:24]
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
PAIR_METRICS = {"consistency_loss", "shift_agreement"}

ON_TORCH = keras.backend.backend() == "torch"


def classifier(outputs=10, batch_norm=True, regularizer=None, activation=None, deep=False):
    keras.utils.set_random_seed(7)
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(6, 3, strides=2, kernel_regularizer=regularizer, name="conv")(inputs)
    x = layers.BatchNormalization(momentum=0.5, name="norm")(x) if batch_norm else x
    x = layers.ReLU()(x)
    x = layers.Conv2D(16, 2, activation="relu")(x) if deep else x
    x = layers.GlobalAveragePooling2D(name="latent")(x)
    return keras.Model(inputs, layers.Dense(outputs, activation, dtype="float32")(x))


def compiled(model, loss=LOSS, optimizer=None, metrics=("accuracy",), **kwargs):
    optimizer = optimizer or keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, loss, metrics=list(metrics), **kwargs)
    return model


def trained(model, images=IMAGES, labels=LABELS, **kwargs):
    arguments = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0, **kwargs}
    return model.fit(images, labels, **arguments).history


def twice(values, batch_size=8):
    """Each batch followed by itself, for stock training with twice the batch size."""
    starts = range(0, len(values), batch_size)
    batches = (values[start : start + batch_size] for start in starts)
    return np.concatenate([batch for batch in batches for _ in range(2)])


def pair_offsets(first, second):
    """In place of the draw: every first copy moves by `first`, every second one by `second`."""

    def draw(batch_size, max_shift, seed):
        is_first = ops.arange(batch_size)[:, None] < batch_size // 2
        return ops.where(is_first, np.array([first], "int32"), np.array([second], "int32"))

    return draw


def assert_same_weights(one, other, **tolerance):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **(tolerance or {"rtol": 1e-4, "atol": 1e-5}))


def assert_same_logs(logs, expected, rtol=1e-4):
    """The same values by the same names, but for the metrics of the pairs."""
    assert set(logs) == set(expected) | PAIR_METRICS
    for name in expected:
        np.testing.assert_allclose(logs[name], expected[name], rtol=rtol, atol=1e-6, err_msg=name)


def seen(model, images):
    """Training-mode outputs and latents of a plain classifier, by a graph made here."""
    both = keras.Model(model.input, [model.output, model.get_layer("latent").output])
    return [ops.convert_to_numpy(x) for x in both(images, training=True)]


def cross_entropy(logits, labels):
    logits = logits - logits.max(-1, keepdims=True)
    return np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(labels)), labels]


# The stock step


def test_without_the_term_and_with_equal_shifts_a_step_is_the_stock_step_on_the_batch_given_twice(
    monkeypatch,
):
    offsets = np.stack([np.arange(24) % 3 - 1, 2 - np.arange(24) % 5], -1).astype("int32")
    draw = np.concatenate([offsets, offsets])
    monkeypatch.setattr(augshift, "draw_offsets", lambda *_: ops.convert_to_tensor(draw))
    ours = compiled(kg.AugShift(classifier(regularizer="l2"), 0, consistency_weight=0.0))
    stock = compiled(classifier(regularizer="l2"))
    images = ops.convert_to_numpy(shift_images(IMAGES, offsets))
    logs = ours.train_on_batch(IMAGES, LABELS, return_dict=True)
    expected = stock.train_on_batch(twice(images, 24), twice(LABELS, 24), return_dict=True)
    assert_same_logs(logs, expected, rtol=1e-5)
    assert_same_weights(ours.model, stock, rtol=1e-5, atol=1e-5)


def to_one_hot(labels):
    return keras.utils.to_categorical(labels, 10)


CASES = {
    "string loss, class_weight, validation, regulariser, unequal last batch": {
        "model": {"regularizer": "l2"},
        "compile": {"loss": "sparse_categorical_crossentropy", "optimizer": "adam"},
        "fit": {
            "class_weight": {i: 0.2 * i for i in range(10)},
            "validation_data": (DIGITS[24:40], DIGIT_LABELS[24:40]),
        },
        "images": IMAGES[:21],
    },
    "one-hot labels, sample_weight, several metrics, accumulated gradients": {
        "compile": {
            "loss": keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
            "optimizer": lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=3),
            "metrics": ["accuracy", "top_k_categorical_accuracy"],
            "weighted_metrics": ["mse"],
        },
        "fit": {"sample_weight": np.linspace(0, 2, 24).astype("float32")},
        "labels": to_one_hot,
    },
    "one output, binary, XLA": {
        "model": {"outputs": 1, "activation": "sigmoid"},
        "compile": {"loss": "binary_crossentropy"},
        "ours": {"jit_compile": not ON_TORCH},
        "labels": lambda labels: (labels > 4).astype("float32"),
    },
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_fit_is_stock_fit_on_batches_given_twice(case):
    images = case.get("images", IMAGES)
    labels = case.get("labels", np.asarray)(LABELS[: len(images)])

    def prepared(model, **kwargs):
        settings = {**case["compile"], **kwargs}
        if callable(settings.get("optimizer")):
            settings["optimizer"] = settings["optimizer"]()
        return compiled(model, **settings)

    stock = prepared(classifier(**case.get("model", {})))
    ours = kg.AugShift(classifier(**case.get("model", {})), max_shift=0)
    prepared(ours, **case.get("ours", {}))
    fit = dict(case.get("fit", {}))
    ours_history = trained(ours, images, labels, **fit)
    if "sample_weight" in fit:
        fit["sample_weight"] = twice(fit["sample_weight"])
    expected = trained(stock, twice(images), twice(labels), batch_size=16, **fit)
    assert_same_logs(ours_history, expected)
    assert_same_weights(ours.model, stock)
    assert np.allclose(ours_history["consistency_loss"], 0, atol=1e-6)
    assert ours_history["shift_agreement"] == [1.0, 1.0]


# The consistency term


@pytest.mark.parametrize("weights", [None, np.linspace(0, 2, 24).astype("float32")])
def test_the_loss_is_the_tasks_the_weighted_term_and_each_penalty_once(weights, monkeypatch):
    monkeypatch.setattr(augshift, "draw_offsets", pair_offsets((1, 0), (-2, 3)))
    plain = classifier(regularizer=keras.regularizers.L2(0.3))
    copies = [shift_images(IMAGES, np.tile([o], (24, 1))) for o in ((1, 0), (-2, 3))]
    logits, latents = seen(plain, ops.concatenate(copies))
    kernel = plain.get_layer("conv").get_weights()[0]
    each = np.ones(24) if weights is None else weights
    task = np.mean(np.tile(each, 2) * cross_entropy(logits, np.tile(LABELS, 2)))
    term = np.mean(each * np.square(latents[:24] - latents[24:]).mean(-1))
    decisions = logits.argmax(-1)

    ours = kg.AugShift(classifier(regularizer=keras.regularizers.L2(0.3)), 3, 25.0)
    logs = compiled(ours).train_on_batch(IMAGES, LABELS, weights, return_dict=True)
    assert term > 1e-4
    assert logs["consistency_loss"] == pytest.approx(term, rel=1e-4)
    expected = task + 25 * term + 0.3 * np.square(kernel).sum()
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)
    assert logs["shift_agreement"] == pytest.approx(np.mean(decisions[:24] == decisions[24:]))
    assert logs["accuracy"] == pytest.approx(np.mean(decisions == np.tile(LABELS, 2)))
    # One update of the moving statistics, by both copies together.
    for name in ("moving_mean", "moving_variance"):
        np.testing.assert_allclose(
            ops.convert_to_numpy(getattr(ours.model.get_layer("norm"), name)),
            ops.convert_to_numpy(getattr(plain.get_layer("norm"), name)),
            rtol=1e-5,
        )


def test_class_weights_weigh_the_term_too(monkeypatch):
    monkeypatch.setattr(augshift, "draw_offsets", pair_offsets((1, 0), (-2, 3)))
    weights = np.where(LABELS < 5, 3.0, 0.0).astype("float32")
    histories = [
        trained(
            compiled(kg.AugShift(classifier(), 3, 25.0), optimizer="sgd"), epochs=1, **arguments
        )
        for arguments in (
            {"class_weight": {i: 3.0 if i < 5 else 0.0 for i in range(10)}},
            {"sample_weight": weights},
        )
    ]
    for name in ("loss", "consistency_loss"):
        assert histories[0][name] == pytest.approx(histories[1][name], rel=1e-5)


def test_activity_penalties_are_those_of_one_forward_pass():
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, activity_regularizer="l2")(inputs)
    x = layers.Dense(10)(layers.GlobalAveragePooling2D()(x))
    stock = compiled(keras.Model(inputs, x))
    start = stock.get_weights()
    expected = stock.train_on_batch(twice(IMAGES, 24), twice(LABELS, 24), return_dict=True)
    stock.set_weights(start)
    ours = compiled(kg.AugShift(stock, max_shift=0))
    assert_same_logs(ours.train_on_batch(IMAGES, LABELS, return_dict=True), expected)


def test_augshift_makes_digits_agree_with_their_shifted_copies():
    def agreement(wrap):
        model = classifier(deep=True)
        learner = compiled(wrap(model), optimizer=keras.optimizers.Adam(0.01))
        trained(learner, DIGITS[:800], DIGIT_LABELS[:800], epochs=8, batch_size=32)
        rng = np.random.default_rng(0)
        tested = DIGITS[1000:]
        decisions = [
            model.predict(
                ops.convert_to_numpy(shift_images(tested, rng.integers(-2, 3, (len(tested), 2)))),
                batch_size=len(tested),
                verbose=0,
            ).argmax(-1)
            for _ in range(2)
        ]
        return np.mean(decisions[0] == decisions[1])

    plain = agreement(lambda model: model)
    consistent = agreement(lambda model: kg.AugShift(model, 2, consistency_weight=1.0, seed=0))
    assert consistent > plain + 0.08  # about 0.42 and 0.22


# Shifts


def test_copies_are_shifted_each_by_its_own_and_fresh_offset():
    dot = np.zeros((40, 9, 9, 1), "float32")
    dot[:, 4, 4] = 1.0
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(inputs))

    def drawn(ours):
        batch, labels, _ = ours.prepare(dot, LABELS[:1], None, training=True)
        assert ops.convert_to_numpy(labels).tolist() == [LABELS[0]] * 2
        (batch,) = batch.values()
        assert tuple(batch.shape) == (80, 9, 9, 1)
        return np.argwhere(ops.convert_to_numpy(batch)[..., 0])[:, 1:] - 4

    ours = kg.AugShift(model, 3, seed=0)
    offsets = drawn(ours)
    assert offsets.min(0).tolist() == [-3, -3]
    assert offsets.max(0).tolist() == [3, 3]
    assert len(np.unique(offsets, axis=0)) > 30
    assert (offsets[:40] != offsets[40:]).any(-1).mean() > 0.8
    assert (offsets != drawn(ours)).any()
    assert (offsets == drawn(kg.AugShift(model, 3, seed=0))).all()
    assert (offsets != drawn(kg.AugShift(model, 3, seed=1))).any()


def test_the_fill_mode_is_what_comes_in_at_the_border():
    model, white = classifier(), np.ones((16, 8, 8, 1), "float32")
    for fill_mode, least in (("constant", 0), ("nearest", 1), ("reflect", 1), ("wrap", 1)):
        batch = kg.AugShift(model, 4, fill_mode=fill_mode).prepare(white, None, None, True)
        (copies,) = batch[0].values()
        assert ops.convert_to_numpy(copies).min() == least


# Data and callbacks


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        part = slice(8 * index, 8 * index + 8)
        return IMAGES[part], LABELS[part]


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


# The inner model's


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
    assert sorted(as_list) == pytest.approx(sorted(logs.values()), rel=1e-5)


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


# Saving


ARGUMENTS = {"max_shift": 2, "consistency_weight": 3.5, "fill_mode": "reflect", "seed": 9}


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
    model(IMAGES)  # Keras exports no model that was never called
    model.export(tmp_path / "saved", verbose=False)
    exported = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(
        exported.serve(IMAGES), model.model.predict(IMAGES, verbose=0), rtol=1e-4
    )


# Several devices


def two_replicas():
    """Gradients are added on one device: TensorFlow's collectives on the CPU can wait for ever."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )


@pytest.mark.tensorflow
def test_on_two_replicas_the_term_is_as_strong_as_on_one_device(monkeypatch):
    monkeypatch.setattr(augshift, "draw_offsets", pair_offsets((1, 0), (-2, 3)))

    def fresh(weight=25.0):
        model = classifier(batch_norm=False, regularizer="l2")  # BatchNorm sees its replica alone
        return compiled(kg.AugShift(model, 3, weight))

    single = fresh()
    expected = trained(single)
    with two_replicas().scope():
        double = fresh()
    logs = trained(double)
    for name in expected:
        assert logs[name] == pytest.approx(expected[name], rel=1e-4), name
    assert_same_weights(double.model, single.model)
    other = fresh(50.0)
    trained(other)
    with pytest.raises(AssertionError):  # a term that is twice as strong shows
        assert_same_weights(other.model, single.model)
    data = {"x": IMAGES[:22], "y": LABELS[:22], "batch_size": 8, "verbose": 0, "return_dict": True}
    assert double.evaluate(**data) == pytest.approx(single.evaluate(**data), rel=1e-4)


@pytest.mark.tensorflow
def test_replicas_draw_different_shifts():
    import tensorflow as tf

    strategy = two_replicas()
    with strategy.scope():
        model = compiled(kg.AugShift(classifier(), 3, seed=0))

    @tf.function
    def draw():
        return strategy.run(lambda: model.prepare(tf.constant(IMAGES), None, None, True)[0])

    one, other = strategy.experimental_local_results(draw())
    assert not np.array_equal(*(next(iter(copies.values())) for copies in (one, other)))


ONE_OF_TWO_PROCESSES = """
import sys

import jax

rank, port = map(int, sys.argv[1:])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
import keras

keras.distribution.initialize(f"127.0.0.1:{port}", 2, rank)
keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))

from tests.training.test_augshift import LABELS, IMAGES, classifier, compiled, kg, trained

rows = [row for start in (0, 8, 16) for row in range(start + 4 * rank, start + 4 * rank + 4)]
model = compiled(kg.AugShift(classifier(), 3, 25.0, seed=1))
history = trained(model, IMAGES[rows], LABELS[rows], batch_size=4)
weights = sum(float(abs(weight).sum()) for weight in model.model.get_weights())
print("history", {**history, "weights": [weights]})
"""


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX's DataParallel")
def test_two_jax_processes_train_as_one_does():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ONE_OF_TWO_PROCESSES, str(rank), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for rank in range(2)
    ]
    try:
        results = [process.communicate(timeout=200) for process in processes]
    finally:
        for process in processes:
            process.kill()
    lines = [out.strip().split("\n")[-1] for out, _ in results]
    assert lines[0].startswith("history"), results
    one, other = (json.loads(line.removeprefix("history").replace("'", '"')) for line in lines)
    assert one == other  # to the last bit
    model = compiled(kg.AugShift(classifier(), 3, 25.0, seed=1))
    expected = trained(model)
    expected["weights"] = [sum(abs(weight).sum() for weight in model.model.get_weights())]
    for name in expected:
        assert one[name] == pytest.approx(expected[name], rel=1e-4), name


# Bad input


def without_pooling():
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, layers.Dense(10, name="head")(layers.Flatten(name="flat")(inputs)))


def two_outputs():
    inputs = keras.Input((8, 8, 1))
    x = layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, [layers.Dense(2)(x), layers.Dense(3)(x)])


def of_vectors():
    inputs = keras.Input((8, 1))
    return keras.Model(inputs, layers.GlobalAveragePooling1D()(inputs))


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (without_pooling, {}, r"global pooling layer.*model with layers .*'flat', 'head'"),
        (two_outputs, {}, r"`model` must be a Functional model, .* one input and one output"),
        (of_vectors, {}, r"`model` must take images .*input shape \(None, 8, 1\)"),
        (classifier, {"max_shift": 8}, r"`max_shift` must be an integer in \[0, 8\).*max_shift=8"),
        (classifier, {"max_shift": -1}, r"`max_shift` must be an integer in .*max_shift=-1"),
        (classifier, {"max_shift": 0.5}, r"`max_shift` must be an integer in .*max_shift=0.5"),
        (classifier, {"consistency_weight": -1}, r"`consistency_weight` must be .* at least 0.*-1"),
        (classifier, {"consistency_weight": np.nan}, r"`consistency_weight` must be .*nan"),
        (classifier, {"consistency_weight": np.inf}, r"`consistency_weight` must be .*inf"),
        (classifier, {"consistency_weight": "1"}, r"`consistency_weight` must be .*'1'"),
        (classifier, {"fill_mode": "edge"}, r"`fill_mode` must be one of .*fill_mode='edge'"),
        (classifier, {"latent": "pool"}, r"`latent` must be a layer of `model`.*'pool'.*'latent'"),
        (classifier, {"seed": -1}, r"`seed` must be an integer in .*seed=-1"),
    ],
)
def test_bad_arguments_are_named(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        kg.AugShift(model(), **arguments)


@functools.cache
def models_by_form_of_the_loss():
    losses = (LOSS, "sparse_categorical_crossentropy")
    return [compiled(kg.AugShift(classifier(), 3), loss) for loss in losses]


NAN = np.where(np.arange(24).reshape((24, 1, 1, 1)) == 5, np.nan, IMAGES)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (DIGITS[:24, :7], LABELS, r"model's input shape \(None, 8, 8, 1\).*\(24, 7, 8, 1\)"),
        (np.tile(IMAGES, 3), LABELS, r"model's input shape \(None, 8, 8, 1\).*\(24, 8, 8, 3\)"),
        (IMAGES[..., 0], LABELS, r"model's input shape \(None, 8, 8, 1\).*\(24, 8, 8\)"),
        (IMAGES[:0], LABELS[:0], r"There are no images"),
        (NAN, LABELS, r"Images must be finite"),
        (np.where(NAN == NAN, NAN, np.inf), LABELS, r"Images must be finite"),
        (ops.convert_to_tensor(NAN), LABELS, r"Images must be finite"),
        (IMAGES, LABELS + 1, r"Labels must be integers in \[0, 10\).* from 1 to 10"),
        (IMAGES, LABELS - 1, r"Labels must be integers in \[0, 10\).* from -1 to 8"),
        (IMAGES, LABELS[:, None] + 1, r"Labels must be integers in \[0, 10\).* from 1 to 10"),
        (IMAGES, LABELS[:5], r"a label for each image. Received: 5 labels for 24 images"),
    ],
    ids=[
        "height",
        "channels",
        "rank",
        "empty",
        "nan",
        "inf",
        "tensor",
        "above",
        "below",
        "column",
        "few",
    ],
)
def test_bad_data_are_refused_before_training(images, labels, message):
    for model in models_by_form_of_the_loss():
        with pytest.raises(ValueError, match=message):
            model.fit(images, labels, verbose=0)
        assert model.optimizer.iterations == 0


def test_a_stream_of_images_of_another_size_is_refused():
    class Wide(Batches):
        def __getitem__(self, index):
            images, labels = super().__getitem__(index)
            return np.repeat(images, 2, axis=2), labels

    with pytest.raises(ValueError, match=r"input shape \(None, 8, 8, 1\).*8, 16, 1\)"):
        compiled(kg.AugShift(classifier(), 3)).fit(Wide(), verbose=0)


def test_images_no_larger_than_the_shift_are_refused_where_the_model_takes_any_size():
    inputs = keras.Input((None, None, 1))
    outputs = layers.Dense(10)(layers.GlobalAveragePooling2D()(inputs))
    model = compiled(kg.AugShift(keras.Model(inputs, outputs), max_shift=8))
    with pytest.raises(ValueError, match=r"`max_shift` must be smaller .* \[0, 8\).*max_shift=8"):
        model.fit(IMAGES, LABELS, verbose=0)
    assert np.isfinite(model.train_on_batch(IMAGES.repeat(2, 1).repeat(2, 2), LABELS)).all()


def test_a_loss_that_ignores_a_class_takes_its_label():
    ignoring = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    labels = np.where(np.arange(24) % 2, -1, LABELS)
    model = compiled(kg.AugShift(classifier(), 3), ignoring, metrics=[])
    assert np.isfinite(trained(model, labels=labels, epochs=1)["loss"]).all()
