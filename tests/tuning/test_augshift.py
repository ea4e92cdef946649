import keras
import keras_tuner
import numpy as np
import pytest

import keras_gappos as kg
from keras_gappos.tuning.augshift import AUGSHIFT_SPACE
from keras_gappos.tuning.space import format_space
from tests.tuning.small_networks import (
    HELD_OUT,
    IMAGES,
    LABELS,
    STEPS,
    VALIDATION,
    EagerAugShift,
    Recorder,
    SmallAugShift,
)

CONSISTENCY = keras_tuner.Objective("val_shift_consistency", "max")


def trials_of(tuner):
    return [trial for _, trial in sorted(tuner.oracle.trials.items())]


def search(tuner, **arguments):
    tuner.search(IMAGES, LABELS, validation_data=VALIDATION, verbose=0, **arguments)
    return trials_of(tuner)


def fit(hypermodel, model=None, images=IMAGES, labels=LABELS, **arguments):
    hp = keras_tuner.HyperParameters()
    model = model or hypermodel.build(hp)
    arguments = {"validation_data": VALIDATION, "verbose": 0, **arguments}
    return hypermodel.fit(hp, model, images, labels, **arguments)


def test_the_docstrings_table_is_the_space():
    table = "\n".join(format_space(AUGSHIFT_SPACE))
    lines = kg.tuning.AugShiftHyperModel.__doc__.splitlines()
    assert "\n".join(line.strip() for line in lines if line.startswith("    |")) == table


def test_a_trials_settings_reach_its_model():
    values = {
        "max_shift": 2,
        "consistency_weight": 30.0,
        "weight_decay": 0.01,
        "width": 8,
        "stem": "canvas",
        "downsampling": "blur",
        "fill_mode": "wrap",
    }
    hypermodel = kg.tuning.AugShiftHyperModel((32, 32, 3), 7, values, seed=3)
    hp = keras_tuner.HyperParameters()
    model = hypermodel.build(hp)
    assert hp.values == {
        "learning_rate": 0.1,
        "batch_size": 128,
        "depth": 18,
        "flip": True,
        **values,
    }
    assert (model.max_shift, model.consistency_weight, model.fill_mode) == (2, 30.0, "wrap")
    assert (model.seed, model.optimizer.weight_decay) == (3, 0.01)
    assert model.model.get_layer("stem_conv").kernel.shape == (7, 7, 3, 8)
    assert model.model.get_layer("stage2_block1_blur").strides == 2
    assert model.model.output_shape == (None, 7)


@pytest.mark.parametrize(
    ("shape", "highest", "downsampling"),
    [
        ((32, 32, 3), 8, ("stride", "blur", "polyphase")),
        ((9, 12, 3), 8, ("stride", "blur", "polyphase")),
        ((8, 12, 1), 7, ("stride", "polyphase")),
        ((2, 9, 1), 1, ("stride", "polyphase")),
    ],
)
def test_the_space_holds_only_what_fits_the_image(shape, highest, downsampling):
    hypermodel = kg.tuning.AugShiftHyperModel(shape, 10, measure_shift=1)
    hp = keras_tuner.HyperParameters()
    hypermodel.values(hp)
    shifts = next(entry for entry in hp.space if entry.name == "max_shift")
    assert getattr(shifts, "max_value", None) == highest or shifts.value == highest
    assert hypermodel.space["downsampling"].values == downsampling


@pytest.mark.slow
def test_a_random_search_stays_in_its_space_and_reports_its_models_consistency(tmp_path):
    space = {"max_shift": [1, 3], "learning_rate": (0.1, 0.2), "stem": "cifar", "flip": False}
    tuner = keras_tuner.RandomSearch(
        EagerAugShift(space), CONSISTENCY, 2, seed=1, directory=tmp_path
    )
    trials = search(tuner)
    assert [trial.status for trial in trials] == ["COMPLETED"] * 2
    for values in (trial.hyperparameters.values for trial in trials):
        assert values.keys() == AUGSHIFT_SPACE.keys()
        assert values["max_shift"] in (1, 3) and values["width"] in (8, 16)
        assert 0.1 <= values["learning_rate"] <= 0.2
        assert (values["batch_size"], values["depth"], values["stem"]) == (32, 18, "cifar")
        assert values["flip"] is False
    (best,) = tuner.get_best_models(1)
    expected = kg.analysis.shift_consistency(best.model, HELD_OUT[:20], max_shift=1, pairs=2)
    assert max(trial.score for trial in trials) == pytest.approx(expected.consistency)
    accuracies = [trial.metrics.get_last_value("val_accuracy") for trial in trials]
    assert np.mean(best.model.predict(HELD_OUT, verbose=0).argmax(-1) == VALIDATION[1]) in (
        pytest.approx(accuracies[0]),
        pytest.approx(accuracies[1]),
    )


@pytest.mark.slow
def test_hyperband_resumes_weights_and_momenta_and_ends_at_a_rate_of_zero(tmp_path):
    recorder = Recorder()
    tuner = keras_tuner.Hyperband(
        EagerAugShift(), CONSISTENCY, max_epochs=2, factor=2, seed=0, directory=tmp_path
    )
    tuner.oracle.max_trials = 3  # two of one epoch, and the better one of them of two
    trials = search(tuner, callbacks=[recorder])
    assert len(recorder.trainings) == len(trials) == 3
    for trial, training in zip(trials, recorder.trainings):
        values = trial.hyperparameters.values
        before, after = values["tuner/initial_epoch"], values["tuner/epochs"]
        resumes = "tuner/trial_id" in values
        assert resumes == (before == 1) == (training["momenta"] > 0)
        assert training["iterations"] == before * STEPS
        assert len(training["rates"]) == (after - before) * STEPS
        assert training["rates"][-1] == pytest.approx(0, abs=1e-8)
        assert min(training["rates"][:-1]) > 1e-4
        assert [0 <= log["val_shift_consistency"] <= 100 for log in training["logs"]]
        assert trial.score == max(log["val_shift_consistency"] for log in training["logs"])
    assert sum("tuner/trial_id" in trial.hyperparameters.values for trial in trials) == 1


def test_a_training_in_two_parts_has_the_rates_of_one():
    recorder, hypermodel = Recorder(), EagerAugShift()
    fit(hypermodel, epochs=2, callbacks=[recorder])
    fit(hypermodel, epochs=2, initial_epoch=1, callbacks=[recorder])
    whole, second_half = (training["rates"] for training in recorder.trainings)
    assert len(whole) == 2 * STEPS and second_half == whole[STEPS:]
    assert max(whole) == pytest.approx(0.1 * 32 / 128)  # for batches of 32


def test_a_model_can_be_trained_on_for_longer_than_was_planned():
    recorder, hypermodel = Recorder(), SmallAugShift()
    model = hypermodel.build(keras_tuner.HyperParameters())
    fit(hypermodel, model, callbacks=[recorder])
    before = model.get_weights()
    fit(hypermodel, model, epochs=3, initial_epoch=1, callbacks=[recorder])
    assert recorder.trainings[1]["momenta"] > 0 and recorder.trainings[1]["iterations"] == STEPS
    # It moves on, though the schedule of the first training, which Keras has traced, is at 0.
    assert np.abs(model.get_weights()[0] - before[0]).max() > 1e-3


def test_the_same_trial_comes_out_the_same():
    one, other = (fit(EagerAugShift(seed=5)).history for _ in range(2))
    for name, values in one.items():
        assert values == pytest.approx(other[name]), name
    assert fit(EagerAugShift(seed=6)).history["loss"] != pytest.approx(one["loss"])


class DivergingAtShift2(EagerAugShift):
    def learning_rate(self, values, steps):
        rate = 1e30 if values["max_shift"] == 2 else 0.01
        return keras.optimizers.schedules.CosineDecay(rate, steps)


@pytest.mark.slow
def test_a_trial_that_diverges_fails_at_once_and_the_search_continues(tmp_path):
    fixed = {name: dimension.default for name, dimension in AUGSHIFT_SPACE.items()}
    hypermodel = DivergingAtShift2({**fixed, "batch_size": 32, "max_shift": [1, 2]})
    recorder = Recorder()
    tuner = keras_tuner.RandomSearch(hypermodel, "val_accuracy", 2, seed=0, directory=tmp_path)
    trials = search(tuner, epochs=2, callbacks=[recorder])
    failed, completed = sorted(trials, key=lambda trial: -trial.hyperparameters["max_shift"])
    assert (failed.status, completed.status) == ("FAILED", "COMPLETED")
    message = failed.message.splitlines()[-1]
    assert "The training diverged: loss is" in message
    assert "in epoch 1, at step 2, with max_shift=2, " in message
    assert sorted(len(training["logs"]) for training in recorder.trainings) == [0, 2]


def test_a_network_that_diverges_in_an_epochs_last_step_fails_too():
    hypermodel = DivergingAtShift2({"batch_size": 64, "max_shift": 2})
    with pytest.raises(keras_tuner.errors.FailedTrialError, match=r"val_loss is .* after epoch 1"):
        fit(hypermodel, epochs=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (8, 8)}, r"`input_shape` must be \(height, width, channels\)"),
        ({"input_shape": (None, 8, 1)}, "`input_shape` must be an integer of at least 1"),
        ({"num_classes": 1}, "`num_classes` must be an integer of at least 2"),
        ({"measure_shift": 8}, r"`measure_shift` must be an integer in \[1, 8\)"),
        ({"consistency_images": 0}, "`consistency_images` must be an integer of at least 1"),
        ({"epochs": 0}, "`epochs` must be an integer of at least 1"),
        ({"seed": -1}, "`seed` must be an integer in"),
        ({"space": {"max_shift": 8}}, r"`space\['max_shift'\]` must be integers in \[1, 7\]"),
        ({"space": {"downsampling": "blur"}}, "must be in"),
        ({"space": {"widht": 8}}, "Did you mean 'width'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    arguments = {"input_shape": (8, 8, 1), "num_classes": 10, "measure_shift": 1, **arguments}
    with pytest.raises(ValueError, match=message):
        kg.tuning.AugShiftHyperModel(**arguments)


@pytest.fixture(scope="module")
def untrained():
    return EagerAugShift().build(keras_tuner.HyperParameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation_data": None}, r"`validation_data` must be \(images, labels\).*NoneType"),
        ({"validation_data": (HELD_OUT, VALIDATION[1][:-1])}, "a label for each image"),
        ({"images": IMAGES[..., 0]}, r"of shape \(n, 8, 8, 1\). Received: .* \(64, 8, 8\)"),
        ({"images": IMAGES * np.nan}, "Images must be finite"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "There are no images"),
        ({"labels": LABELS + 1}, r"Labels must be integers in \[0, 10\)"),
        ({"labels": keras.utils.to_categorical(LABELS)}, "not one-hot"),
        ({"images": IMAGES[:31], "labels": LABELS[:31]}, "batch_size of up to 32, 31 images"),
        ({"batch_size": 16}, "`batch_size` is a setting of the trials"),
        ({"epochs": 0}, "`epochs` must be an integer of at least 1"),
        ({"epochs": 2, "initial_epoch": 2}, r"`initial_epoch` must be an integer in \[0, 2\)"),
    ],
)
def test_data_that_do_not_fit_are_named(untrained, arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(EagerAugShift(), untrained, **arguments)


def test_wrong_data_end_a_search_at_its_first_trial(tmp_path):
    tuner = keras_tuner.RandomSearch(EagerAugShift(), "val_accuracy", 9, directory=tmp_path)
    with pytest.raises(ValueError, match="`validation_data` must be"):
        tuner.search(IMAGES, LABELS, verbose=0)
    assert len(tuner.oracle.trials) == 1
