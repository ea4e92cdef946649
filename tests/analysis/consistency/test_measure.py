import json

import keras
import matplotlib
import numpy as np
import pytest
from keras import ops

from keras_gappos.analysis import shift_consistency
from keras_gappos.analysis.consistency.protocols import plan_shifts
from keras_gappos.analysis.consistency.result import ConsistencyCounts

matplotlib.use("Agg")

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(7, 6, 6, 1)).astype("float32")
LABELS = RNG.integers(0, 3, 7)


def position_dependent_net(outputs=3, activation=None):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6, 6, 1)), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(outputs, activation=activation)])


class LeftOrRight(keras.Model):
    """Class 1 if the brightest column is in the right half, otherwise class 0."""

    def call(self, images):
        columns = ops.sum(images, axis=(1, 3))
        half = columns.shape[1] // 2
        parts = (columns[:, :half], columns[:, half:])
        return ops.stack([ops.max(part, axis=1) for part in parts], axis=1)


def one_bright_column(column, width=6):
    images = np.zeros((1, 6, width, 1), "float32")
    images[:, :, column] = 1
    return images


def shift_by_hand(images, down, right):
    """Zero fill, by slicing."""
    size = images.shape[1]
    padded = np.pad(images, ((0, 0), (size, size), (size, size), (0, 0)))
    return padded[:, size - down : 2 * size - down, size - right : 2 * size - right]


def classes_under_all_shifts(model, images, max_shift):
    span = range(-max_shift, max_shift + 1)
    shifted = [shift_by_hand(images, down, right) for down in span for right in span]
    return np.stack([model.predict_on_batch(batch).argmax(axis=1) for batch in shifted])


def test_exact_is_the_mean_over_all_pairs_of_shifts():
    model = position_dependent_net()
    result = shift_consistency(model, IMAGES, "exact", max_shift=2, labels=LABELS)
    decided = classes_under_all_shifts(model, IMAGES, 2)
    pairs = (decided[:, None] == decided[None, :]).mean(axis=(0, 1))
    assert 20 < result.consistency < 90  # the net does depend on the place
    assert result.consistency == pytest.approx(100 * pairs.mean())
    assert result.stderr == pytest.approx(100 * pairs.std(ddof=1) / np.sqrt(len(IMAGES)))
    correct = decided == LABELS
    assert result.accuracy == pytest.approx(100 * correct.mean())
    assert result.worst_case == pytest.approx(100 * correct.all(axis=0).mean())
    by_shift = 100 * correct.mean(axis=1).reshape(5, 5)
    np.testing.assert_allclose(result.accuracy_map, by_shift)
    assert result.row_offsets == result.column_offsets == (-2, -1, 0, 1, 2)


def test_random_converges_to_exact():
    model = position_dependent_net()
    exact = shift_consistency(model, IMAGES, "exact", max_shift=2).consistency
    result = shift_consistency(model, IMAGES, max_shift=2, pairs=400)
    sampling_error = 50 / np.sqrt(400 * len(IMAGES))
    assert abs(result.consistency - exact) < 3 * sampling_error
    assert np.mean(result.pair_consistencies) == pytest.approx(result.consistency)


def test_by_hand_where_one_shift_in_three_changes_the_class():
    # Column 2 of 6 is in the left half; moved right by 1 it is in the right one.
    result = shift_consistency(
        LeftOrRight(), one_bright_column(2), "exact", max_shift=1, labels=[0]
    )
    assert result.consistency == pytest.approx(100 * (6**2 + 3**2) / 9**2)
    np.testing.assert_allclose(result.accuracy_map, [[100, 100, 0]] * 3)
    assert result.accuracy == pytest.approx(100 * 2 / 3)
    assert result.worst_case == 0
    assert np.isnan(result.stderr) and result.to_dict()["stderr"] is None


def test_rows_of_the_map_are_shifts_down():
    class UpOrDown(LeftOrRight):
        def call(self, images):
            return super().call(ops.transpose(images, (0, 2, 1, 3)))

    images = one_bright_column(2).transpose(0, 2, 1, 3)
    result = shift_consistency(UpOrDown(), images, "exact", max_shift=1, labels=[0])
    np.testing.assert_allclose(result.accuracy_map, [[100] * 3, [100] * 3, [0] * 3])


def test_worst_case_accuracy_counts_images_that_are_right_under_all_shifts():
    images = np.concatenate([one_bright_column(column) for column in (0, 1, 2, 4)])
    result = shift_consistency(
        LeftOrRight(), images, "exact", max_shift=1, labels=[0, 1, 0, 1], fill_mode="nearest"
    )
    assert result.worst_case == 50  # the first and the last; the second never, the third at times


@pytest.mark.parametrize("protocol", ["random", "exact", "aps"])
def test_a_shift_invariant_model_is_fully_consistent_under_roll(protocol):
    def circular(images):
        return ops.concatenate([images[:, -1:], images, images[:, :1]], axis=1)

    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Lambda(circular)(inputs)
    x = ops.transpose(keras.layers.Lambda(circular)(ops.transpose(x, (0, 2, 1, 3))), (0, 2, 1, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(x)
    x = keras.layers.GlobalMaxPooling2D()(x)
    head = keras.layers.Dense(3)
    model = keras.Model(inputs, head(x))
    head.bias.assign(-model.predict_on_batch(IMAGES).mean(axis=0))  # or one class wins everywhere
    result = shift_consistency(model, IMAGES, protocol, fill_mode="wrap", pairs=3)
    assert result.consistency == 100 and result.stderr == 0
    assert len(set(model.predict_on_batch(IMAGES).argmax(axis=1))) > 1


@pytest.mark.parametrize(
    ("outputs", "arguments", "warned"),
    [
        (3, {}, "the same top-1 class on all 7 images"),
        (3, {"protocol": "exact"}, "the same top-1 class"),
        (1, {"threshold": 0.5}, "the same top-1 class"),
        (3, {"decision": "threshold", "threshold": 0.5}, "the same label set"),
    ],
)
def test_a_model_that_decides_for_one_class_is_told(outputs, arguments, warned):
    model = position_dependent_net(outputs)
    several = shift_consistency(model, IMAGES, max_shift=1, **arguments)
    assert 2 <= several.num_predicted_classes <= 8
    model.layers[-1].bias.assign([50.0, *[-50.0] * (outputs - 1)])
    with pytest.warns(UserWarning, match=warned) as warnings:
        result = shift_consistency(model, IMAGES, max_shift=1, batch_size=2, **arguments)
    assert len(warnings) == 1 and warnings[0].filename == __file__
    assert (result.consistency, result.num_predicted_classes) == (100, 1)
    assert result.to_dict()["num_predicted_classes"] == 1
    one = shift_consistency(model, IMAGES[:1], max_shift=1, **arguments)
    assert one.num_predicted_classes == 1  # which says nothing of one image


@pytest.mark.parametrize("protocol", ["random", "exact"])
def test_the_predicted_classes_are_counted_over_all_images_and_shifts(protocol):
    decided = classes_under_all_shifts(position_dependent_net(9), IMAGES, 1)
    arguments = {"max_shift": 1, "pairs": 200, "batch_size": 3}
    result = shift_consistency(position_dependent_net(9), IMAGES, protocol, **arguments)
    assert result.num_predicted_classes == len(np.unique(decided)) > 3
    sets = shift_consistency(
        position_dependent_net(9, "sigmoid"), IMAGES, protocol, **arguments
    ).num_predicted_classes
    span = range(-1, 2)
    shifted = [shift_by_hand(IMAGES, down, right) for down in span for right in span]
    logits = np.concatenate([position_dependent_net(9).predict_on_batch(x) for x in shifted])
    assert sets == len(np.unique(logits > 0, axis=0))


def test_logits_and_probabilities_agree():
    def measure(activation):
        model = position_dependent_net(activation=activation)
        return shift_consistency(model, IMAGES, "exact", max_shift=1)

    assert measure(None).consistency == measure("softmax").consistency


def test_a_model_of_one_output_is_read_at_a_threshold():
    def measure(activation, threshold=None):
        model = position_dependent_net(1, activation)
        return shift_consistency(
            model, IMAGES, "exact", max_shift=1, labels=LABELS % 2, threshold=threshold
        )

    probabilities, logits = measure("sigmoid"), measure(None, threshold=0.0)
    assert probabilities.settings["threshold"] == 0.5
    assert 40 < probabilities.consistency < 100
    assert probabilities.consistency == logits.consistency
    np.testing.assert_array_equal(probabilities.accuracy_map, logits.accuracy_map)


def test_a_multi_label_model_is_consistent_where_its_whole_label_set_is():
    model = position_dependent_net(5, "sigmoid")
    span = range(-1, 2)
    shifted = [shift_by_hand(IMAGES, down, right) for down in span for right in span]
    sets = np.stack([model.predict_on_batch(batch) > 0.5 for batch in shifted])
    result = shift_consistency(model, IMAGES, "exact", max_shift=1, labels=sets[4].astype("int8"))
    pairs = (sets[:, None] == sets[None, :]).all(axis=-1).mean(axis=(0, 1))
    assert result.consistency == pytest.approx(100 * pairs.mean())
    assert result.stderr == pytest.approx(100 * pairs.std(ddof=1) / np.sqrt(len(IMAGES)))
    assert result.accuracy == pytest.approx(100 * (sets == sets[4]).all(axis=-1).mean())
    assert result.worst_case == pytest.approx(100 * (sets == sets[4]).all(axis=(0, 2)).mean())
    assert result.agreement_of == result.to_dict()["agreement_of"] == "label set"
    assert result.plot().figure.axes[1].get_ylabel() == "label set accuracy (%)"
    top1 = shift_consistency(model, IMAGES, "exact", max_shift=1, decision="argmax")
    assert top1.agreement_of == "top-1 class" and top1.consistency > result.consistency
    many = shift_consistency(model, IMAGES, max_shift=1, pairs=300, batch_size=3)
    assert many.consistency == pytest.approx(result.consistency, abs=3 * 50 / np.sqrt(2100))


SIGMOID, SOFTMAX = "sigmoid", "softmax"
BCE = keras.losses.BinaryCrossentropy
CCE = keras.losses.SparseCategoricalCrossentropy


class OwnLoss(BCE):
    """A loss of the user's."""


def operation_at_the_end():
    net = position_dependent_net()
    return keras.Model(net.inputs, ops.sigmoid(net.outputs[0]))


def passing_on():
    net = position_dependent_net(activation=SIGMOID)
    return keras.Sequential([net, keras.layers.Activation("linear", dtype="float32")])


def subclassed():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.net = position_dependent_net()

        def call(self, images):
            return self.net(images)

    return Net()


@pytest.mark.parametrize(
    ("model", "loss", "threshold"),
    [
        (None, None, None),
        (None, CCE(from_logits=True), None),
        (None, "poisson", None),
        (SOFTMAX, "mse", None),
        (SOFTMAX, "binary_crossentropy", None),
        (SIGMOID, "categorical_crossentropy", None),
        (SIGMOID, None, 0.5),
        (SIGMOID, "bce", 0.5),
        (SIGMOID, "binary_focal_crossentropy", 0.5),
        (None, keras.losses.binary_crossentropy, 0.5),
        (None, BCE(from_logits=True), 0.0),
        (None, [OwnLoss(from_logits=True)], 0.0),
        (operation_at_the_end, None, 0.5),
        (passing_on, None, 0.5),
        (subclassed, BCE(from_logits=True), 0.0),
        (subclassed, None, None),
        (None, "mse", ValueError),
        (None, keras.losses.Huber(), ValueError),
        (None, keras.losses.mean_absolute_error, ValueError),
        (SIGMOID, keras.losses.MeanSquaredError(), ValueError),
        (subclassed, "mae", ValueError),
    ],
)
def test_the_head_says_how_a_model_of_several_outputs_decides(model, loss, threshold):
    model = model() if callable(model) else position_dependent_net(activation=model)
    if loss is not None:
        model.compile("sgd", loss)
    if threshold is ValueError:
        with pytest.raises(ValueError, match=r"`model` is compiled with the loss .*decision="):
            shift_consistency(model, IMAGES, max_shift=1)
        threshold = None
        result = shift_consistency(model, IMAGES, max_shift=1, decision="argmax")
    else:
        result = shift_consistency(model, IMAGES, max_shift=1)
    expected = "argmax" if threshold is None else "threshold"
    assert (result.settings["decision"], result.settings["threshold"]) == (expected, threshold)


def test_the_loss_says_how_a_model_of_one_output_decides():
    model = position_dependent_net(1)
    model.compile("sgd", BCE(from_logits=True))
    assert shift_consistency(model, IMAGES, max_shift=1).settings["threshold"] == 0.0
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="loss mean_squared_error: it looks like a regression"):
        shift_consistency(model, IMAGES, max_shift=1)
    result = shift_consistency(model, IMAGES, max_shift=1, threshold=0.25)
    assert result.settings["threshold"] == 0.25


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        part = slice(3 * index, 3 * index + 3)
        return IMAGES[part], LABELS[part]


def test_the_same_seed_gives_the_same_figures_from_any_source_and_batch_size():
    model = position_dependent_net()
    arguments = {"max_shift": 2, "pairs": 2, "seed": 3}
    whole = shift_consistency(model, IMAGES, labels=LABELS, **arguments)
    parts = shift_consistency(model, IMAGES, labels=LABELS, batch_size=3, **arguments)
    stream = shift_consistency(model, Batches(), **arguments)
    one_hot = np.eye(3)[LABELS]
    hot = shift_consistency(model, iter([(IMAGES, one_hot)]), **arguments)
    for other in (parts, stream, hot):
        assert other.consistency == pytest.approx(whole.consistency)
        assert other.pair_consistencies == pytest.approx(whole.pair_consistencies)
        assert other.stderr == pytest.approx(whole.stderr)
        np.testing.assert_allclose(other.accuracy_map, whole.accuracy_map)
    reseeded = shift_consistency(model, IMAGES, labels=LABELS, **{**arguments, "seed": 4})
    assert not np.array_equal(reseeded.accuracy_map, whole.accuracy_map)


@pytest.mark.tensorflow
def test_reads_a_tensorflow_dataset():
    import tensorflow as tf

    model = position_dependent_net()
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4)
    expected = shift_consistency(model, IMAGES, max_shift=2, labels=LABELS)
    result = shift_consistency(model, dataset, max_shift=2)
    assert result.consistency == pytest.approx(expected.consistency)
    assert result.accuracy == pytest.approx(expected.accuracy)


def test_aps_shifts_a_whole_batch_alike_from_minus_three_to_two():
    plan = plan_shifts("aps", (8, 8, 1), None, 200, None, None)
    views = plan.draw(np.random.default_rng(0), 4)
    assert (views == views[:, :1]).all()
    assert set(views[..., 0].ravel()) == set(views[..., 1].ravel()) == {-3, -2, -1, 0, 1, 2}
    assert plan.fill_mode == "wrap"
    result = shift_consistency(LeftOrRight(), one_bright_column(2), "aps", labels=[0], pairs=1)
    assert result.accuracy_map.shape == (6, 6)
    assert np.isnan(result.accuracy_map).sum() in (34, 35)  # two draws, or one twice
    assert result.to_dict()["accuracy_map"][0].count(None) >= 4


def test_crops_start_where_the_offsets_say():
    # The left half of a crop from column 0, 1, 2 holds column 3 of 8 in 1 case of 3.
    images = np.concatenate([one_bright_column(3, 8)] * 2)
    model = LeftOrRight()
    result = shift_consistency(
        model, images, "crop", crop_size=(4, 6), labels=[0, 0], pairs=60, batch_size=1
    )
    assert result.row_offsets == result.column_offsets == (0, 1, 2)
    np.testing.assert_allclose(result.accuracy_map, [[0, 100, 100]] * 3)
    assert result.consistency == pytest.approx(100 * 5 / 9, abs=3 * 50 / np.sqrt(120))
    assert result.settings["crop_size"] == [4, 6] and result.settings["fill_mode"] is None


def test_standard_error_of_shared_shifts_is_over_batches_and_trials():
    plan = plan_shifts("aps", (6, 6, 1), None, 2, None, None)
    counts = ConsistencyCounts(plan, 2)
    views = plan.draw(np.random.default_rng(0), 4)
    counts.add(views, np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]]))
    counts.add(views, np.array([[0, 0, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]))
    result = counts.result({})
    values = np.array([100, 50, 25, 100])
    assert result.consistency == pytest.approx(values.mean())
    assert result.stderr == pytest.approx(values.std(ddof=1) / 2)
    assert result.pair_consistencies == pytest.approx((62.5, 75))


def test_the_result_is_ready_for_json_and_says_how_it_was_made():
    model = position_dependent_net()
    result = shift_consistency(model, IMAGES, max_shift=1, labels=LABELS, seed=5)
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert content["num_images"] == 7
    assert content["settings"] == {
        "protocol": "random",
        "max_shift": 1,
        "pairs": 5,
        "fill_mode": "constant",
        "fill_value": 0.0,
        "crop_size": None,
        "image_shape": [6, 6, 1],
        "batch_size": 128,
        "seed": 5,
        "decision": "argmax",
        "threshold": None,
        "model": model.name,
        "backend": keras.backend.backend(),
        "keras_version": keras.__version__,
    }


def test_the_model_is_left_as_it_was_and_batches_compile_once():
    calls = []

    class Counting(keras.layers.Layer):
        def call(self, images):
            calls.append(images.shape)
            return images

    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Flatten()(Counting()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    before = model.get_weights()
    calls.clear()
    shift_consistency(model, IMAGES, "exact", max_shift=2, batch_size=3)
    # Batches of 3, 3, 1 under 25 shifts: a trace, a check of the shapes, and, on TensorFlow, one
    # more for the smaller last batch.
    assert 1 <= len(calls) <= 4
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_a_model_is_asked_as_predict_asks_it():
    class TrainingByDefault(keras.Model):
        def __init__(self):
            super().__init__()
            self.net = position_dependent_net()

        def call(self, images, training=True):
            outputs = self.net(images)
            return [-outputs if training else outputs]

    model = TrainingByDefault()
    (outputs,) = model.predict(IMAGES, verbose=0)
    result = shift_consistency(model, IMAGES, "exact", max_shift=0, labels=outputs.argmax(-1))
    assert result.accuracy == 100


def test_works_at_the_end_of_an_epoch():
    model = position_dependent_net()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    seen = []

    def measure(epoch, logs):
        seen.append(shift_consistency(model, IMAGES, "exact", max_shift=1).consistency)

    callback = keras.callbacks.LambdaCallback(on_epoch_end=measure)
    model.fit(IMAGES, LABELS, epochs=2, callbacks=[callback], verbose=0)
    assert seen[1] == shift_consistency(model, IMAGES, "exact", max_shift=1).consistency


def test_bytes_are_shifted_as_bytes():
    model = position_dependent_net()
    images = RNG.integers(0, 256, (7, 6, 6, 1)).astype("uint8")
    result = shift_consistency(model, images, "exact", max_shift=1, fill_value=9)
    floats = shift_consistency(model, images.astype("float32"), "exact", max_shift=1, fill_value=9)
    assert result.consistency == floats.consistency
    with pytest.raises(ValueError, match=r"`fill_value` must be a whole number in \[0, 255\]"):
        shift_consistency(model, images, fill_value=-1, max_shift=1)


def nan_model():
    model = position_dependent_net()
    model.layers[-1].bias.assign([0.0, np.nan, 0.0])
    return model


def two_outputs():
    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, [keras.layers.Dense(2)(x), keras.layers.Dense(3)(x)])


def two_inputs():
    inputs = [keras.Input((6, 6, 1)), keras.Input((6, 6, 1))]
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs[0] + inputs[1])))


def feature_map():
    return keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(2, 3)])


def channels_first():
    pool = keras.layers.GlobalMaxPooling2D(data_format="channels_first")
    return keras.Sequential([keras.Input((6, 6, 1)), pool])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"protocol": "exakt"}, r"`protocol` must be one of .*Did you mean 'exact'\?"),
        ({"max_shift": -1}, r"`max_shift` must be an integer in \[0, 6\).*max_shift=-1"),
        ({"max_shift": 6}, r"max_shift=6, for images of shape \(6, 6, 1\)"),
        ({"max_shift": 1.5}, "max_shift=1.5"),
        ({"protocol": "aps", "max_shift": 0}, r"integer in \[1, 6\)"),
        ({"pairs": 0}, "`pairs` must be an integer of at least 1"),
        ({"seed": -1}, "`seed` must be an integer of at least 0"),
        ({"batch_size": 0}, "`batch_size` must be"),
        ({"fill_mode": "zeros"}, "`fill_mode` must be one of"),
        ({"fill_value": np.nan}, "`fill_value` must be a finite number"),
        ({"protocol": "crop"}, "`crop_size` must be given"),
        ({"protocol": "crop", "crop_size": 7}, r"`crop_size` must be an integer in \[1, 7\).*=7"),
        ({"protocol": "crop", "crop_size": (4, 4, 1)}, r"`crop_size` must be one number or"),
        ({"protocol": "crop", "crop_size": 6, "fill_mode": "wrap"}, "`fill_mode` must be None"),
        ({"protocol": "crop", "crop_size": 4}, r"shape that `model` takes, \(6, 6, 1\).*\(4, 4"),
        ({"crop_size": 4}, "`crop_size` must be None"),
        ({"images": IMAGES[:0]}, "There are no images"),
        ({"images": np.full_like(IMAGES, np.nan)}, "`images` must be finite"),
        ({"images": IMAGES[:, :5]}, r"`images` must be of the shape .*\(5, 6, 1\)"),
        ({"labels": LABELS[:5]}, "`labels` must have one entry"),
        ({"labels": LABELS + 1}, r"`labels` must be integers in \[0, 3\).*from 1 to 3"),
        ({"labels": LABELS - 1.5}, r"`labels` must be integers in \[0, 3\)"),
        ({"labels": np.full((7, 3), 1 / 3)}, r"one-hot.*labels.argmax"),
        ({"labels": np.zeros((7, 4))}, r"`labels` must be of shape \(n,\)"),
        ({"model": position_dependent_net(1)}, "looks like a regression model.*threshold=0.0"),
        ({"threshold": 0.5}, "`threshold` is for models of one output"),
        ({"model": two_outputs()}, r"one output .*shape \[\(None, 2\), \(None, 3\)\]"),
        ({"model": two_inputs()}, "`model` must take images alone"),
        ({"model": channels_first()}, r"`model` must take .*, channels\).*'channels_first'"),
        ({"model": feature_map()}, r"segmentation_consistency.*\[\(None, 4, 4, 2\)\]"),
        ({"decision": "argmx"}, "`decision` must be one of .*Did you mean 'argmax'"),
        ({"model": position_dependent_net(1), "decision": "argmax"}, "`decision` must be .*one"),
        ({"decision": "threshold"}, "`threshold` must be given .*0.0 for logits"),
        ({"labels": np.eye(3)[LABELS] + np.eye(3)[0] > 0}, "multi-hot.*decision=.threshold"),
        ({"labels": LABELS, "decision": "threshold", "threshold": 0.0}, "multi-hot, .*argmax"),
        ({"model": nan_model()}, "gives NaN"),
        ({"model": lambda images: images}, "`model` must be a keras.Model"),
        ({"images": [IMAGES, (IMAGES, LABELS)]}, "labels in every batch or in none"),
    ],
)
def test_says_what_is_wrong(arguments, message):
    arguments = {"model": position_dependent_net(), "images": IMAGES, "max_shift": 1, **arguments}
    with pytest.raises(ValueError, match=message):
        shift_consistency(**arguments)


def test_a_subclassed_model_that_cannot_take_the_images_is_named():
    class Needs3(keras.Model):
        def call(self, images):
            return ops.matmul(images[:, 0, 0], ops.ones((3, 2)))

    with pytest.raises(ValueError, match=r"`model` must take `images`.*\(6, 6, 1\)"):
        shift_consistency(Needs3(), IMAGES)


def test_plot_shows_accuracy_by_shift():
    result = shift_consistency(
        LeftOrRight(), one_bright_column(2), "exact", max_shift=1, labels=[0]
    )
    axes = result.plot()
    assert axes.get_xlabel() == "shift right (pixels)"
    assert axes.get_ylabel() == "shift down (pixels)"
    assert axes.get_title() == "mean accuracy 66.7 %\nworst-case accuracy 0.0 %"
    assert axes.figure.axes[1].get_ylabel() == "top-1 accuracy (%)"
    np.testing.assert_allclose(axes.images[0].get_array(), result.accuracy_map)
    assert axes.images[0].get_extent() == [-1.5, 1.5, 1.5, -1.5]  # up is up
    assert result.plot(axes, label="my net", vmin=0) is axes
    assert axes.get_title().splitlines()[0] == "my net"
    assert axes.images[1].get_clim()[0] == 0
    assert not axes.get_legend()


def test_plot_needs_labels():
    result = shift_consistency(LeftOrRight(), one_bright_column(2), max_shift=1)
    assert result.accuracy is result.worst_case is result.accuracy_map is None
    for method in (result.plot, result.to_dataframe):
        with pytest.raises(ValueError, match="`labels`"):
            method()
