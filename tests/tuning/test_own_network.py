import keras
import keras_tuner
import numpy as np
import pytest
from keras import layers

import keras_gappos as kg
from keras_gappos.tuning import AugShiftHyperModel, make_tuner
from tests.tuning.small_networks import IMAGES, LABELS, VALIDATION, Eager, small_network

SPACE = {"batch_size": 16, "learning_rate": (1e-3, 1e-2), "max_shift": 1, "flip": False}


class EagerHyperModel(Eager, AugShiftHyperModel):
    pass


def hypermodel(network, space=(), **arguments):
    arguments = {"measure_shift": 1, "consistency_images": 20, "epochs": 1, **arguments}
    return EagerHyperModel(space={**SPACE, **dict(space)}, network=network, **arguments)


def probabilities(logits):
    return keras.Model(logits.input, layers.Softmax()(logits.output))


def build(hp):
    return probabilities(small_network((8, 8, 1), 10, hp.Int("filters", 4, 6)))


@pytest.mark.slow
def test_a_search_tries_the_functions_own_settings_beside_augshifts(tmp_path):
    own = hypermodel(build)
    assert own.space.keys().isdisjoint({"width", "depth", "stem", "downsampling"})
    assert (own.image_shape, own.num_classes) == ((8, 8, 1), 10)
    folder = tmp_path / "search"
    tuner = make_tuner("random", own, directory=folder, trials=3, epochs=1, seed=1)
    tuner.search(IMAGES, LABELS, validation_data=VALIDATION, verbose=0)
    trials = list(tuner.oracle.trials.values())
    assert [trial.status for trial in trials] == ["COMPLETED"] * 3
    for trial in trials:
        values = trial.hyperparameters.values
        assert values.keys() == own.space.keys() | {"filters"}
        assert values["batch_size"] == 16 and 1e-3 <= values["learning_rate"] <= 1e-2
    best = tuner.get_best_models(1)[0]
    filters = tuner.get_best_hyperparameters()[0]["filters"]
    assert best.model.get_layer("conv").filters == filters
    accuracy = np.mean(best.model.predict(VALIDATION[0], verbose=0).argmax(-1) == VALIDATION[1])
    metrics = tuner.oracle.get_best_trials()[0].metrics
    assert metrics.get_last_value("val_accuracy") == pytest.approx(accuracy)
    again = make_tuner("random", hypermodel(build), directory=folder, trials=3, epochs=1, seed=1)
    assert again.oracle.trials.keys() == tuner.oracle.trials.keys()
    wider = hypermodel(lambda hp: small_network((8, 8, 1), 10, 16))
    with pytest.raises(ValueError, match="network_parameters is"):
        make_tuner("random", wider, directory=folder, trials=3, epochs=1, seed=1)


def test_each_trial_begins_with_a_copy_of_a_fixed_network():
    network = small_network((8, 8, 1), 10, 4)
    network.get_layer("conv").trainable = False
    before = network.get_weights()
    own, hp = hypermodel(network), keras_tuner.HyperParameters()
    first = own.build(hp)
    own.fit(hp, first, IMAGES, LABELS, validation_data=VALIDATION, verbose=0)
    second = own.build(hp)
    for begun, given, kept in zip(second.model.get_weights(), before, network.get_weights()):
        np.testing.assert_array_equal(begun, given)
        np.testing.assert_array_equal(kept, given)
    trained = first.model
    np.testing.assert_array_equal(trained.get_layer("conv").kernel, before[0])
    assert np.abs(trained.layers[-1].kernel - network.layers[-1].kernel).max() > 1e-4


def test_probabilities_and_logits_have_the_same_loss():
    logits, hp = small_network((8, 8, 1), 10, 4), keras_tuner.HyperParameters()
    models = [hypermodel(network).build(hp) for network in (logits, probabilities(logits))]
    losses = [model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True) for model in models]
    assert losses[0]["loss"] == pytest.approx(losses[1]["loss"], rel=1e-4)


def test_a_free_image_size_is_given():
    network = small_network((None, None, 1), 10, 4)
    assert hypermodel(network, input_shape=(8, 8, 1)).image_shape == (8, 8, 1)
    with pytest.raises(ValueError, match="`input_shape` must be an integer of at least 1"):
        hypermodel(network)


def test_what_a_network_was_compiled_with_is_not_used_in_silence():
    network = small_network((8, 8, 1), 10, 4)
    network.compile("adam", "mse")
    with pytest.warns(UserWarning, match="compiled with are not used"):
        hypermodel(lambda hp: network)


def declares_batch_size(hp):
    return small_network((8, 8, 1), 10, hp.Int("batch_size", 2, 4))


def head(*stack):
    return keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(3, 3), *stack])


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        ("MobileNet", {}, "`network` must be a `keras.Model` or a function of"),
        (lambda hp: None, {}, "must return a `keras.Model`. Received: NoneType"),
        (declares_batch_size, {}, r"use other names .* declares \['batch_size'\]"),
        (head(layers.Flatten(), layers.Dense(3)), {}, "must have a global pooling layer"),
        (head(layers.GlobalMaxPooling2D(), layers.Dense(1)), {}, r"shape \(None, 1\)"),
        (head(layers.GlobalMaxPooling2D(), layers.Dense(3, "sigmoid")), {}, "after a sigmoid"),
        (build, {"num_classes": 9}, "the network's outputs, 10. Received: num_classes=9"),
        (build, {"input_shape": (9, 8, 1)}, r"`input_shape` must fit .* \(8, 8, 1\)"),
        (build, {"space": {"width": 8}}, "`space` must be one of"),
        (None, {}, r"`input_shape` must be \(height, width, channels\)"),
    ],
)
def test_networks_that_cannot_be_searched_are_named(network, arguments, message):
    with pytest.raises(ValueError, match=message):
        hypermodel(network, **arguments)


def test_a_network_of_keras_applications_is_built_as_the_docstring_says():
    def mobile(hp):
        shape = (32, 32, 1)
        return keras.applications.MobileNet(input_shape=shape, alpha=0.25, weights=None, classes=7)

    model = AugShiftHyperModel(network=mobile).build(keras_tuner.HyperParameters())
    assert isinstance(model, kg.AugShift) and model.model.output_shape == (None, 7)
    assert model.loss.get_config()["from_logits"] is False
