"""What one step of AugShift computes."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_gappos as kg
from keras_gappos.layers import shift_images
from keras_gappos.training import augshift
from tests.training.augshift_cases import (
    DIGIT_LABELS,
    DIGITS,
    IMAGES,
    LABELS,
    ON_TORCH,
    assert_same_logs,
    assert_same_weights,
    classifier,
    compiled,
    cross_entropy,
    pair_offsets,
    seen,
    trained,
    twice,
)


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


@pytest.mark.parametrize(
    ("loss", "activation", "threshold"),
    [
        (keras.losses.BinaryCrossentropy(from_logits=True), None, 0.0),
        ("binary_crossentropy", "sigmoid", 0.5),
        ("categorical_crossentropy", "sigmoid", None),
        ("mse", None, "regression"),
        (keras.losses.Huber(), "sigmoid", "regression"),
        ("mse", "softmax", None),
    ],
)
def test_the_agreement_is_of_what_the_model_decides(loss, activation, threshold, monkeypatch):
    monkeypatch.setattr(augshift, "draw_offsets", pair_offsets((0, 0), (1, 0)))
    copies = [shift_images(IMAGES, np.tile([o], (24, 1))) for o in ((0, 0), (1, 0))]
    plain = classifier(5, activation=activation)
    outputs, _ = seen(plain, ops.concatenate(copies))
    model = compiled(kg.AugShift(classifier(5, activation=activation), 3), loss)
    labels = keras.utils.to_categorical(LABELS % 5)
    logs = model.train_on_batch(IMAGES, labels, return_dict=True)
    if threshold == "regression":
        assert "shift_agreement" not in logs and "consistency_loss" in logs
        history = model.fit(IMAGES, labels, validation_split=0.5, verbose=0).history
        assert "shift_agreement" not in history and "consistency_loss" in history
        return
    decided = outputs.argmax(-1)[:, None] if threshold is None else outputs > threshold
    expected = np.mean((decided[:24] == decided[24:]).all(-1))
    assert 0 < expected < 1 and logs["shift_agreement"] == pytest.approx(expected)


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


def test_the_fill_value_is_what_comes_in_at_the_border():
    white = np.ones((50, 8, 8, 1), "float32")
    (shifted,) = (
        kg.AugShift(classifier(), 4, fill_value=-3.0).prepare(white, None, None, True)[0].values()
    )
    assert set(np.unique(ops.convert_to_numpy(shifted))) == {-3.0, 1.0}


def test_the_fill_mode_is_what_comes_in_at_the_border():
    model, white = classifier(), np.ones((16, 8, 8, 1), "float32")
    for fill_mode, least in (("constant", 0), ("nearest", 1), ("reflect", 1), ("wrap", 1)):
        batch = kg.AugShift(model, 4, fill_mode=fill_mode).prepare(white, None, None, True)
        (copies,) = batch[0].values()
        assert ops.convert_to_numpy(copies).min() == least
