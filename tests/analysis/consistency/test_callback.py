import copy

import keras
import numpy as np
import pytest

import keras_gappos as kg
from keras_gappos.tuning import ShiftConsistencyCallback
from tests.tuning.small_networks import HELD_OUT, IMAGES, LABELS, small_network

NAME = "val_shift_consistency"


def compiled(model, eager=True):
    """Without a graph, which takes longer to make than to use here; JAX is fast with one only."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    run_eagerly = eager and keras.backend.backend() == "tensorflow"
    model.compile(keras.optimizers.SGD(0.5), loss, run_eagerly=run_eagerly)
    return model


def small():
    keras.utils.set_random_seed(1)
    return small_network((8, 8, 1), 10, 8)


def fit(model, *callbacks, epochs=2):
    arguments = {"batch_size": 32, "verbose": 0, "callbacks": list(callbacks)}
    return model.fit(IMAGES, LABELS, epochs=epochs, **arguments).history


class AfterEachEpoch(keras.callbacks.Callback):
    """Keeps what it finds in the logs, and the weights of that moment."""

    def __init__(self):
        super().__init__()
        self.logs, self.weights = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append(logs[NAME])
        self.weights.append(self.model.get_weights())


def consistency(network, images, **arguments):
    arguments = {"max_shift": 4, "pairs": 2, **arguments}
    return kg.analysis.shift_consistency(network, images, progress=False, **arguments).consistency


@pytest.mark.parametrize("wrap", [lambda network: network, lambda n: kg.AugShift(n, 1, seed=0)])
def test_it_is_the_consistency_of_each_epochs_classifier(wrap):
    network, after = small(), AfterEachEpoch()
    model = compiled(wrap(network), eager=False)
    arguments = {"max_shift": 2, "pairs": 3, "batch_size": 7, "seed": 5}
    history = fit(model, ShiftConsistencyCallback(HELD_OUT, limit=20, **arguments), after)
    assert history[NAME] == after.logs and len(after.logs) == 2
    for value, weights in zip(after.logs, after.weights):
        model.set_weights(weights)
        assert value == pytest.approx(consistency(network, HELD_OUT[:20], **arguments))
    assert after.logs[0] != after.logs[1]


def test_a_network_that_ends_with_one_class_is_told():
    name = "val_num_predicted_classes"
    network = small()
    network.trainable = False
    history = fit(compiled(network), ShiftConsistencyCallback(HELD_OUT, 1), epochs=1)
    assert 2 <= history[name][0] <= 10
    network.layers[-1].bias.assign([99.0] + [0.0] * 9)
    with pytest.warns(UserWarning, match="the same class on all .* images") as warnings:
        history = fit(compiled(network), ShiftConsistencyCallback(HELD_OUT, 1))
    assert history[name] == [1, 1] and history[NAME] == [100.0, 100.0]
    assert sum("says nothing" in str(warning.message) for warning in warnings) == 1


def test_an_early_stopping_after_it_goes_by_it():
    stop = keras.callbacks.EarlyStopping(NAME, min_delta=200.0, patience=1, mode="max")
    history = fit(compiled(small()), ShiftConsistencyCallback(HELD_OUT, 1), stop, epochs=5)
    assert len(history[NAME]) == 2  # no epoch improves by 200 points


def fit_one_hot(model, callback):
    labels = keras.utils.to_categorical(LABELS, 10)
    return model.fit(IMAGES, labels, verbose=0, callbacks=[callback]).history


@pytest.mark.parametrize("wrap", [lambda network: network, lambda n: kg.AugShift(n, 1, seed=0)])
def test_the_loss_of_the_training_says_that_label_sets_count(wrap):
    network = small()
    model = wrap(network)
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    history = fit_one_hot(model, ShiftConsistencyCallback(HELD_OUT, 2, limit=20))
    arguments = {"max_shift": 2, "threshold": 0.0, "decision": "threshold"}
    assert history[NAME] == pytest.approx([consistency(network, HELD_OUT[:20], **arguments)])


def test_a_regression_has_no_consistency():
    model = small()
    model.compile("sgd", "mse")
    callback = ShiftConsistencyCallback(HELD_OUT, 2, limit=20)
    with pytest.raises(ValueError, match="mean_squared_error: it looks like a regression"):
        fit_one_hot(model, callback)
    counted = ShiftConsistencyCallback(HELD_OUT, 2, limit=20, decision="argmax")
    assert NAME in fit_one_hot(model, counted)


def test_it_can_be_copied_and_used_again():
    callback = ShiftConsistencyCallback(HELD_OUT.astype("float64"), 1, limit=10)
    copied = copy.deepcopy(callback)
    first, copied = (fit(compiled(small()), one, epochs=1) for one in (callback, copied))
    assert first[NAME] == copied[NAME]
    other = keras.Model(*(lambda n: (n.input, -n.output))(small()))
    again = fit(compiled(other), callback, epochs=1)
    assert again[NAME] == pytest.approx([consistency(other, HELD_OUT[:10], max_shift=1)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": HELD_OUT[0]}, r"`images` must be of shape .* Received: .* \(8, 8, 1\)"),
        ({"images": HELD_OUT[:0]}, "There are no images"),
        ({"images": HELD_OUT + np.inf}, "Images must be finite"),
        ({"max_shift": 8}, r"`max_shift` must be an integer in \[0, 8\)"),
        ({"limit": 0}, "`limit` must be an integer of at least 1"),
        ({"pairs": 0}, "`pairs` must be an integer of at least 1"),
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1"),
        ({"seed": None}, "`seed` must be an integer of at least 0"),
        ({"decision": "argmx"}, "`decision` must be one of"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShiftConsistencyCallback(**{"images": HELD_OUT, **arguments})


def test_images_that_the_model_does_not_take_are_named():
    with pytest.raises(ValueError, match="`images` must be of the shape that `model` takes"):
        fit(compiled(small()), ShiftConsistencyCallback(HELD_OUT[:, :6]))
