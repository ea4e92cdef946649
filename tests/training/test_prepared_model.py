"""The mechanism under GridTask and AugShift: prepare the batch, then be stock Keras."""

import contextlib

import keras
import numpy as np
import pytest
from keras import ops

from keras_gappos.layers import RandomShift
from keras_gappos.training import PreparedModel

IMAGES = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
LABELS = np.random.default_rng(1).integers(0, 3, 24)


@keras.saving.register_keras_serializable(package="tests")
class Doubled(PreparedModel):
    """Doubles the inputs: a preparation whose outcome is known."""

    def prepare(self, x, y, sample_weight, training):
        return 2.0 * x, y, sample_weight


@keras.saving.register_keras_serializable(package="tests")
class Noisy(PreparedModel):
    """Adds random noise to the inputs, in training alone."""

    def prepare(self, x, y, sample_weight, training):
        noise = keras.random.normal(ops.shape(x), seed=self.seed_generator)
        return x + noise if training else x, y, sample_weight


def classifier(regularizer=None):
    keras.utils.set_random_seed(7)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(5, activation="tanh", kernel_regularizer=regularizer)(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, dtype="float32")(hidden))


def compiled(model, **kwargs):
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **kwargs,
    )
    return model


def fit(model, images=IMAGES, labels=LABELS, epochs=2, **kwargs):
    return model.fit(
        images, labels, batch_size=8, epochs=epochs, shuffle=False, verbose=0, **kwargs
    )


def assert_same_weights(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "fit_arguments",
    [
        {},
        {"sample_weight": np.linspace(0, 2, 24)},
        {"class_weight": {0: 1.0, 1: 0.5, 2: 2.0}},
        {"validation_data": (2 * IMAGES[:5], LABELS[:5])},
    ],
    ids=["plain", "sample_weight", "class_weight", "validation"],
)
def test_training_equals_stock_training_on_the_prepared_batches(fit_arguments):
    stock, prepared = compiled(classifier("l2")), compiled(Doubled(classifier("l2")))
    expected = fit(stock, 2 * IMAGES, **fit_arguments).history
    if "validation_data" in fit_arguments:
        fit_arguments = {"validation_data": (IMAGES[:5], LABELS[:5])}
    actual = fit(prepared, **fit_arguments).history
    assert expected.keys() == actual.keys()
    for key in expected:
        np.testing.assert_allclose(actual[key], expected[key], rtol=1e-4)
    assert_same_weights(prepared.model, stock)


def test_the_last_batch_may_be_smaller():
    stock, prepared = compiled(classifier()), compiled(Doubled(classifier()))
    fit(stock, 2 * IMAGES[:19], LABELS[:19])
    fit(prepared, IMAGES[:19], LABELS[:19])
    assert_same_weights(prepared.model, stock)


def test_evaluate_is_stock_evaluate_on_the_prepared_batches():
    prepared = compiled(Doubled(classifier()))
    expected = compiled(classifier()).evaluate(2 * IMAGES, LABELS, verbose=0)
    np.testing.assert_allclose(prepared.evaluate(IMAGES, LABELS, verbose=0), expected, rtol=1e-5)


def test_predict_and_call_are_the_inner_models():
    prepared = Doubled(classifier())
    expected = classifier().predict(IMAGES, verbose=0)
    for actual in (prepared.predict(IMAGES, verbose=0), ops.convert_to_numpy(prepared(IMAGES))):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="Keras: `steps_per_execution` must be 1 on PyTorch"
)
def test_several_steps_per_execution_make_the_same_draws_and_the_same_steps():
    plain = compiled(Noisy(classifier(), seed=3))
    other = compiled(Noisy(classifier(), seed=3), steps_per_execution=3)
    fit(plain)
    fit(other)
    assert_same_weights(plain.model, other.model)


def test_xla_takes_the_same_steps():
    # Of a known preparation: TensorFlow draws other random numbers under XLA.
    plain = compiled(Doubled(classifier()), jit_compile=False)
    other = compiled(Doubled(classifier()), jit_compile=True)
    fit(plain)
    fit(other)
    assert_same_weights(plain.model, other.model)


def test_random_draws_compile_under_xla():
    model = compiled(Noisy(classifier(), seed=3), jit_compile=True)
    model.optimizer.learning_rate = 0.0
    assert len(set(fit(model, epochs=3).history["loss"])) == 3


def test_mixed_float16_trains_as_the_stock_model_does_with_its_loss_scaling():
    keras.config.set_dtype_policy("mixed_float16")
    stock, prepared = compiled(classifier()), compiled(Doubled(classifier()))
    fit(stock, 2 * IMAGES)
    fit(prepared)
    assert isinstance(prepared.optimizer, keras.optimizers.LossScaleOptimizer)
    for a, b in zip(prepared.model.get_weights(), stock.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)
        assert np.isfinite(a).all()


def test_gradient_accumulation_is_stock():
    def accumulating(model):
        optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=3)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss)
        return model

    stock, prepared = accumulating(classifier()), accumulating(Doubled(classifier()))
    fit(stock, 2 * IMAGES)
    fit(prepared)
    assert_same_weights(prepared.model, stock)


def test_draws_follow_the_seed_and_change_from_step_to_step():
    def histories(seed):
        model = compiled(Noisy(classifier(), seed=seed))
        model.optimizer.learning_rate = 0.0  # so that the loss differs by the noise alone
        return fit(model, epochs=3).history["loss"]

    assert histories(3) == histories(3)
    assert histories(3) != histories(4)
    assert len(set(histories(3))) == 3


def test_training_after_a_reload_equals_training_without_a_break(tmp_path):
    straight = compiled(Noisy(classifier(), seed=5))
    fit(straight, epochs=4)
    broken = compiled(Noisy(classifier(), seed=5))
    fit(broken, epochs=2)
    broken.save(tmp_path / "model.keras")
    broken = keras.saving.load_model(tmp_path / "model.keras")
    assert int(broken.optimizer.iterations) == 6
    fit(broken, epochs=2)
    assert_same_weights(broken, straight)


def test_a_backup_resumes_as_if_not_interrupted(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    straight = compiled(Noisy(classifier(), seed=5))
    fit(straight, epochs=4)
    with pytest.raises(KeyboardInterrupt):
        fit(compiled(Noisy(classifier(), seed=5)), epochs=4, callbacks=[backup(), Stop()])
    resumed = compiled(Noisy(classifier(), seed=5))
    assert len(fit(resumed, epochs=4, callbacks=[backup()]).epoch) == 2
    assert_same_weights(resumed, straight)


def test_weights_files_carry_the_state_of_the_draws(tmp_path):
    one, other = compiled(Noisy(classifier(), seed=5)), compiled(Noisy(classifier(), seed=6))
    fit(one)
    one.save_weights(tmp_path / "a.weights.h5")
    fit(other, epochs=1)
    other.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(other.seed_generator.state),
        ops.convert_to_numpy(one.seed_generator.state),
    )


def test_config_round_trip_keeps_the_seed_and_the_inner_model():
    model = Noisy(classifier(), seed=11, name="noisy")
    again = Noisy.from_config(model.get_config())
    assert (again.seed, again.name) == (11, "noisy")
    assert again.model.get_config() == model.model.get_config()
    assert keras.models.clone_model(model).seed == 11


def test_train_on_batch_and_test_on_batch_prepare_too():
    stock, prepared = compiled(classifier()), compiled(Doubled(classifier()))
    expected = stock.train_on_batch(2 * IMAGES, LABELS)
    np.testing.assert_allclose(prepared.train_on_batch(IMAGES, LABELS), expected, rtol=1e-5)
    expected = stock.test_on_batch(2 * IMAGES, LABELS)
    np.testing.assert_allclose(prepared.test_on_batch(IMAGES, LABELS), expected, rtol=1e-5)


@keras.saving.register_keras_serializable(package="tests")
class FromOneHot(PreparedModel):
    """Makes class indices of one-hot labels, and two numbers of three: other shapes than came."""

    def prepare(self, x, y, sample_weight, training):
        return ops.concatenate([x, x], axis=1), ops.argmax(y, axis=1), sample_weight


@pytest.mark.parametrize(
    "distributed", [False, pytest.param(True, marks=pytest.mark.tensorflow)], ids=["one", "two"]
)
@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_losses_and_metrics_are_built_for_the_prepared_batch(method, distributed):
    half, one_hot = IMAGES[:, :2], keras.utils.to_categorical(LABELS, 3)
    with two_replicas().scope() if distributed else contextlib.nullcontext():
        prepared = compiled(FromOneHot(classifier()))
    stock = compiled(classifier())
    arguments = {"batch_size": 24, "verbose": 0} if method in ("fit", "evaluate") else {}
    expected = getattr(stock, method)(np.concatenate([half, half], 1), LABELS, **arguments)
    actual = getattr(prepared, method)(half, one_hot, **arguments)
    if method == "fit":
        expected, actual = list(expected.history.values()), list(actual.history.values())
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_callbacks_see_the_inner_model_before_the_first_step():
    seen = []

    class Predict(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append(self.model.predict(IMAGES, verbose=0))
            seen.append(ops.convert_to_numpy(self.model(IMAGES)))

        on_test_begin = on_train_begin

    expected = classifier().predict(IMAGES, verbose=0)
    prepared = compiled(FromOneHot(classifier()))
    one_hot = keras.utils.to_categorical(LABELS, 3)
    prepared.evaluate(IMAGES[:, :2], one_hot, verbose=0, callbacks=[Predict()])
    prepared.fit(IMAGES[:, :2], one_hot, verbose=0, callbacks=[Predict()])
    assert len(seen) == 4
    for outputs in seen:
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        part = slice(8 * index, 8 * index + 8)
        return IMAGES[part], LABELS[part]


def test_a_py_dataset_trains_as_the_arrays_do():
    arrays, stream = compiled(Doubled(classifier())), compiled(Doubled(classifier()))
    fit(arrays)
    stream.fit(Batches(), epochs=2, shuffle=False, verbose=0)
    assert_same_weights(stream.model, arrays.model)


@pytest.mark.tensorflow
def test_a_tf_data_set_trains_as_the_arrays_do():
    import tensorflow as tf

    arrays, stream = compiled(Doubled(classifier())), compiled(Doubled(classifier()))
    fit(arrays)
    stream.fit(tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(8), epochs=2, verbose=0)
    assert_same_weights(stream.model, arrays.model)


def two_replicas():
    """Gradients are added on one device: TensorFlow's collectives on the CPU can wait for ever."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )


@pytest.mark.tensorflow
def test_two_replicas_train_as_one_device_does():
    single = compiled(Doubled(classifier()))
    history = fit(single).history
    with two_replicas().scope():
        double = compiled(Doubled(classifier()))
    distributed = fit(double).history
    np.testing.assert_allclose(distributed["loss"], history["loss"], rtol=1e-4)
    assert_same_weights(double.model, single.model)


@pytest.mark.tensorflow
def test_each_replica_draws_its_own_numbers():
    import tensorflow as tf

    strategy = two_replicas()
    with strategy.scope():
        model = compiled(Noisy(classifier(), seed=2))

    @tf.function
    def draw():
        return strategy.run(lambda: model.prepare(tf.zeros((2, 4)), None, None, True)[0])

    one, other = strategy.experimental_local_results(draw())
    assert not np.array_equal(one, other)
    alone = Noisy(classifier(), seed=2).prepare(tf.zeros((2, 4)), None, None, True)[0]
    np.testing.assert_array_equal(one, alone)
    fit(model)  # and it trains


def test_a_model_of_another_kind_is_refused():
    one, other = keras.Input((4,)), keras.Input((4,))
    for model in (
        3,
        keras.Sequential([keras.layers.Dense(3)]),
        keras.Model([one, other], keras.layers.Add()([one, other])),
    ):
        with pytest.raises(ValueError, match=r"`model` must be a Functional model, or a Sequ"):
            Doubled(model)


@pytest.mark.tensorflow
def test_a_trained_model_exports_a_saved_model_of_the_inner_one(tmp_path):
    import tensorflow as tf

    model = compiled(Doubled(classifier()))
    fit(model, epochs=1)
    model.export(tmp_path / "saved", verbose=False)
    served = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(
        served.serve(IMAGES), model.model.predict(IMAGES, verbose=0), rtol=1e-4
    )


@pytest.mark.tensorflow
@pytest.mark.parametrize("format", ["tf_saved_model", "onnx"])
def test_augmentation_inside_is_off_in_an_exported_model(format, tmp_path):
    import tensorflow as tf

    inputs = keras.Input((6, 6, 1))
    x = keras.layers.RandomFlip(seed=0)(inputs)
    x = RandomShift(2, seed=0)(x)
    x = keras.layers.Dropout(0.5, seed=0)(keras.layers.Flatten()(x))
    model = Doubled(keras.Model(inputs, keras.layers.Dense(3)(x)))
    images = np.random.default_rng(0).random((4, 6, 6, 1)).astype("float32")
    path = tmp_path / "exported"
    if format == "onnx":
        pytest.importorskip("tf2onnx")
        runtime = pytest.importorskip("onnxruntime")
        model.export(path, format=format, verbose=False)
        session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (outputs,) = session.run(None, {session.get_inputs()[0].name: images})
    else:
        model.export(path, format=format, verbose=False)
        served = tf.saved_model.load(path)  # which owns the weights
        outputs = served.serve(images)
    np.testing.assert_allclose(outputs, model.predict(images, verbose=0), atol=1e-5)


def test_a_built_model_prepares_once_a_step(monkeypatch):
    model = compiled(Doubled(classifier()), run_eagerly=True)
    model.train_on_batch(IMAGES, LABELS)
    calls = []
    prepare = model.prepare
    monkeypatch.setattr(model, "prepare", lambda *args: calls.append(0) or prepare(*args))
    model.train_on_batch(IMAGES, LABELS)
    assert len(calls) == 1
