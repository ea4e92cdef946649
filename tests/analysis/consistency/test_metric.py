import keras
import numpy as np
import pytest

import keras_gappos as kg
from keras_gappos.analysis import ShiftConsistencyMetric, ShiftPairs, shift_consistency
from keras_gappos.layers import shift_images

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(30, 6, 6, 1)).astype("float32")
LABELS = RNG.integers(0, 3, 30)
LOGITS_LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def compiled_net(outputs=3, threshold=None, loss=LOGITS_LOSS, **kwargs):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(outputs)]
    model = keras.Sequential(layers)
    metrics = ["accuracy", ShiftConsistencyMetric(threshold=threshold)]
    model.compile("sgd", loss, metrics=metrics, **kwargs)
    return model


def test_consecutive_rows_are_pairs():
    metric = ShiftConsistencyMetric()
    predictions = np.array([[2, 1], [3, 0], [2, 1], [1, 2], [0, 1], [0, 9], [1, 0], [0, 1.0]])
    metric.update_state(None, predictions)
    assert float(metric.result()) == 50
    metric.update_state(None, predictions[:2])
    assert float(metric.result()) == pytest.approx(60)
    metric.reset_state()
    metric.update_state(None, predictions[:4], sample_weight=[3, 3, 1, 1])
    assert float(metric.result()) == 75


@pytest.mark.parametrize("jit_compile", [False, True])
def test_evaluate_gives_what_shift_consistency_measures(jit_compile):
    model = compiled_net(jit_compile=jit_compile)
    logs = model.evaluate(
        ShiftPairs(IMAGES, LABELS, max_shift=2, batch_size=8, seed=3), verbose=0, return_dict=True
    )
    expected = shift_consistency(model, IMAGES, max_shift=2, pairs=1, seed=3, labels=LABELS)
    assert 10 < expected.consistency < 95
    assert logs["shift_consistency"] == pytest.approx(expected.consistency, rel=1e-5)
    assert 100 * logs["accuracy"] == pytest.approx(expected.accuracy, rel=1e-5)
    many = shift_consistency(model, IMAGES, max_shift=2, pairs=100).consistency
    assert logs["shift_consistency"] == pytest.approx(many, abs=3 * 50 / np.sqrt(30))


def test_one_output_is_read_at_a_threshold():
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model = compiled_net(1, threshold=0.0, loss=loss)
    labels = LABELS[:, None] % 2
    pairs = ShiftPairs(IMAGES, labels, max_shift=2, fill_mode="wrap")
    logs = model.evaluate(pairs, verbose=0, return_dict=True)
    expected = shift_consistency(
        model, IMAGES, max_shift=2, pairs=1, fill_mode="wrap", threshold=0.0
    )
    assert 20 < expected.consistency < 95
    assert logs["shift_consistency"] == pytest.approx(expected.consistency, rel=1e-5)


def test_watches_a_training_as_its_validation():
    model = compiled_net()
    pairs = ShiftPairs(IMAGES, LABELS, max_shift=2, batch_size=20)
    history = model.fit(IMAGES, LABELS, epochs=2, validation_data=pairs, verbose=0).history
    again = model.evaluate(pairs, verbose=0, return_dict=True)
    assert history["val_shift_consistency"][-1] == again["shift_consistency"]


@pytest.mark.tensorflow
def test_works_where_replicas_share_a_batch():
    import tensorflow as tf

    pairs = ShiftPairs(IMAGES[:28], LABELS[:28], max_shift=2, batch_size=8)
    expected = compiled_net().evaluate(pairs, verbose=0, return_dict=True)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model = compiled_net()
    logs = model.evaluate(pairs, verbose=0, return_dict=True)
    assert logs["shift_consistency"] == pytest.approx(expected["shift_consistency"])


def test_pairs_are_two_shifts_of_each_image_and_the_same_at_each_pass():
    pairs = ShiftPairs(IMAGES, LABELS, max_shift=1, batch_size=14, fill_value=7.0)
    assert len(pairs) == 5
    batches = [pairs[index] for index in range(5)]
    assert [len(x) for x, _ in batches] == [14, 14, 14, 14, 4]
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), np.repeat(LABELS, 2))
    span = range(-1, 2)
    offsets = np.array([(down, right) for down in span for right in span], "int32")
    chosen = []
    for row, view in enumerate(np.concatenate([x for x, _ in batches])):
        image = np.repeat(IMAGES[row // 2][None], 9, axis=0)
        all_views = keras.ops.convert_to_numpy(shift_images(image, offsets, "constant", 7.0))
        chosen.append(np.flatnonzero((all_views == view).all(axis=(1, 2, 3))).item())
    first, second = np.array(chosen[0::2]), np.array(chosen[1::2])
    assert set(chosen) == set(range(9))
    assert 0 < (first != second).mean() < 1 or len(set(first)) > 1
    np.testing.assert_array_equal(pairs[1][0], batches[1][0])
    other = ShiftPairs(IMAGES, LABELS, max_shift=1, batch_size=14, fill_value=7.0, seed=1)
    assert not np.array_equal(other[1][0], batches[1][0])


def test_metric_saves_and_loads_with_its_model(tmp_path):
    model = compiled_net(1, threshold=0.25, loss="mse")
    pairs = ShiftPairs(IMAGES, LABELS, max_shift=2)
    expected = model.evaluate(pairs, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(pairs, verbose=0, return_dict=True) == pytest.approx(expected)
    config = ShiftConsistencyMetric(0.25, name="views").get_config()
    again = ShiftConsistencyMetric.from_config(config)
    assert (again.threshold, again.name) == (0.25, "views")


def test_a_prediction_that_is_not_a_number_is_not_an_agreement():
    metric = kg.analysis.ShiftConsistencyMetric()
    metric.update_state(None, np.array([[np.nan, 1.0], [np.nan, 1.0]]))
    assert np.isnan(float(metric.result()))


MULTI_HOT = RNG.integers(0, 2, (30, 3))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_label_sets_agree_as_a_whole(jit_compile):
    metric = ShiftConsistencyMetric(0.0, decision="threshold")
    model = compiled_net()
    model.compile(
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[metric],
        jit_compile=jit_compile,
    )
    pairs = ShiftPairs(IMAGES, MULTI_HOT, max_shift=2, batch_size=8, seed=3)
    logs = model.evaluate(pairs, verbose=0, return_dict=True)
    expected = shift_consistency(model, IMAGES, max_shift=2, pairs=1, seed=3, labels=MULTI_HOT)
    assert expected.agreement_of == "label set" and 5 < expected.consistency < 95
    assert logs["shift_consistency"] == pytest.approx(expected.consistency, rel=1e-5)
    again = ShiftConsistencyMetric.from_config(metric.get_config())
    assert (again.threshold, again.decision) == (0.0, "threshold")


def test_the_top_class_of_a_multi_label_model_is_no_agreement():
    def measured(labels, **arguments):
        model = compiled_net()
        model.compile(loss="mse", metrics=[ShiftConsistencyMetric(**arguments)])
        pairs = ShiftPairs(IMAGES, labels, max_shift=2)
        return model.evaluate(pairs, verbose=0, return_dict=True)["shift_consistency"]

    one_hot = np.eye(3, dtype="float32")[LABELS]
    expected = measured(one_hot)
    assert np.isnan(measured(MULTI_HOT.astype("float32")))
    assert (
        0 < expected == measured(MULTI_HOT, decision="argmax") == measured(0.9 * one_hot + 1 / 30)
    )


@pytest.mark.parametrize(
    "shape, threshold, message",
    [
        ((3, 2), None, r"two consecutive rows.*shape=\(3, 2\)"),
        ((4, 2, 2), None, r"Predictions must be of shape \(batch, classes\)"),
        ((4, 1), None, "`threshold` must be given"),
        ((4, 2), 0.5, "only for such a one"),
    ],
)
def test_metric_says_what_is_wrong_with_predictions(shape, threshold, message):
    with pytest.raises(ValueError, match=message):
        ShiftConsistencyMetric(threshold).update_state(None, np.zeros(shape))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"batch_size": 7}, "`batch_size` must be even"),
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 2"),
        ({"max_shift": 6}, "`max_shift` must be"),
        ({"seed": -1}, "`seed` must be"),
        ({"fill_mode": "zero"}, "`fill_mode` must be one of"),
        ({"images": IMAGES.astype("uint8"), "fill_value": 0.5}, "`fill_value` must be a whole"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "There are no images"),
        ({"images": IMAGES * np.inf}, "`images` must be finite"),
        ({"labels": LABELS[:3]}, "`labels` must have one entry"),
    ],
)
def test_pairs_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShiftPairs(**{"images": IMAGES, "labels": LABELS, "max_shift": 2, **arguments})
