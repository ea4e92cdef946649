import contextlib
import gc
import json
import types

import keras_tuner
import pytest

from keras_gappos.tuning.resumable import tuner as resumable_tuner
from keras_gappos.tuning.resumable.role import Role
from keras_gappos.tuning.tuner import count_epochs
from tests.tuning.toy_search import ToyHyperModel, toy_tuner


@pytest.fixture(autouse=True, scope="module")
def quick_garbage_collection():
    """KerasTuner collects garbage before each trial, and TensorFlow has a lot to look through."""
    gc.freeze()
    yield
    gc.unfreeze()


def searched(folder, kind="random", hypermodel=None, **arguments):
    tuner = toy_tuner(folder / "search", kind, hypermodel=hypermodel, **arguments)
    tuner.search()
    return tuner


def accuracies(tuner):
    trials = sorted(tuner.oracle.trials.items())
    return [trial.hyperparameters["x"] for _, trial in trials]


@pytest.mark.parametrize("kind", ["random", "bayesian"])
def test_all_trials_are_made_and_the_best_comes_first(tmp_path, kind, capsys):
    tuner = searched(tmp_path, kind, trials=5)
    assert len(set(accuracies(tuner))) == 5
    assert tuner.get_best_hyperparameters()[0]["x"] == max(accuracies(tuner))
    assert tuner.oracle.trials["0"].metrics.get_last_value("val_accuracy") == pytest.approx(
        accuracies(tuner)[0] / 100
    )
    assert capsys.readouterr().out == ""


def test_a_trial_reports_its_last_epoch(tmp_path):
    tuner = searched(tmp_path, trials=2, epochs=7)
    (trial,) = tuner.oracle.get_best_trials()
    (observation,) = trial.metrics.get_history("val_accuracy")
    assert (observation.step, trial.best_step) == (7, 7)
    assert observation.value == [trial.hyperparameters["x"] / 100]


def test_an_objective_that_is_not_measured_is_named(tmp_path):
    class Inaccurate(ToyHyperModel):
        def fit(self, hp, model, **arguments):
            history = super().fit(hp, model, **arguments).history
            return types.SimpleNamespace(history={"loss": history["val_accuracy"]})

    with pytest.raises(Exception, match="val_accuracy is not a metric that `fit` returns: loss"):
        searched(tmp_path, hypermodel=Inaccurate())


def test_the_same_seed_makes_the_same_choices(tmp_path):
    one, same, other = (
        accuracies(searched(tmp_path / str(number), seed=seed))
        for number, seed in enumerate((0, 0, 1))
    )
    assert one == same != other


def test_the_objective_decides(tmp_path):
    tuner = searched(tmp_path / "a", objective="val_shift_consistency")
    assert tuner.get_best_hyperparameters()[0]["x"] == min(accuracies(tuner))
    tuner = searched(tmp_path / "b", objective="consistency_above_floor", tolerance=30.0)
    floor = max(accuracies(tuner)) - 30
    expected = min(x for x in accuracies(tuner) if x >= floor)
    assert tuner.get_best_hyperparameters()[0]["x"] == expected


def test_hyperband_trains_on_from_the_last_epoch(tmp_path):
    hypermodel = ToyHyperModel()
    searched(tmp_path, "hyperband", hypermodel, trials=None, epochs=3)
    continued = [run for run in hypermodel.runs if run[1]]
    assert continued
    for x, initial_epoch, epochs, bias in continued:
        assert (initial_epoch, epochs) == (1, 3)
        assert bias == 100 * x + 1  # what the trial before has left
    assert all(bias == 0 for _, initial_epoch, _, bias in hypermodel.runs if not initial_epoch)


@pytest.mark.parametrize(("epochs", "factor"), [(3, 3), (9, 3), (4, 2), (1, 3)])
def test_the_epochs_are_counted_beforehand(tmp_path, epochs, factor):
    hypermodel = ToyHyperModel()
    searched(tmp_path, "hyperband", hypermodel, trials=None, epochs=epochs, factor=factor)
    done = [epochs - initial_epoch for _, initial_epoch, epochs, _ in hypermodel.runs]
    assert count_epochs("hyperband", None, epochs, factor) == done
    assert count_epochs("random", 4, 7) == [7] * 4


def test_a_search_goes_on_where_it_was(tmp_path):
    class Stopped(Exception):
        pass

    def stop_at_three(oracle):
        if len(oracle.end_order) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        searched(tmp_path, listener=stop_at_three)
    hypermodel = ToyHyperModel()
    tuner = searched(tmp_path, hypermodel=hypermodel)
    assert len(hypermodel.runs) == 3
    assert accuracies(tuner) == accuracies(searched(tmp_path / "whole"))


def test_a_trial_that_was_cut_off_starts_again(tmp_path):
    class CutOff(ToyHyperModel):
        def fit(self, hp, model, **arguments):
            if len(self.runs) == 2:
                raise KeyboardInterrupt
            return super().fit(hp, model, **arguments)

    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, hypermodel=CutOff())
    tuner = searched(tmp_path)
    assert accuracies(tuner) == accuracies(searched(tmp_path / "whole"))
    starts = {trial_id: record["starts"] for trial_id, record in tuner.oracle.records.items()}
    assert starts == {"0": 1, "1": 1, "2": 2, "3": 1, "4": 1, "5": 1}


def test_a_chief_goes_on_with_what_one_process_began(tmp_path, monkeypatch):
    searched(tmp_path)
    for name, value in Role("chief", "127.0.0.1", 8000).environment.items():
        monkeypatch.setenv(name, value)
    tuner = toy_tuner(tmp_path / "search")
    assert len(tuner.oracle.trials) == 6
    tuner.search()  # a chief's, which has nothing to wait for
    assert tuner.oracle.create_trial("worker0").status == "STOPPED"


@pytest.mark.parametrize("names", [("IP",), ("PORT",), ("IP", "PORT")])
def test_an_empty_variable_counts_as_not_set(names, tmp_path, monkeypatch):
    for name in names:
        monkeypatch.setenv(f"KERASTUNER_ORACLE_{name}", "")
    assert len(searched(tmp_path, trials=2).oracle.end_order) == 2


def test_a_worker_without_a_chiefs_address_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker0")
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "")
    with pytest.raises(ValueError, match=r"must all be set.*KERASTUNER_ORACLE_IP=''"):
        toy_tuner(tmp_path / "search")


def test_a_failed_trial_is_kept_with_its_message(tmp_path, capfd):
    failing = accuracies(searched(tmp_path / "first"))[1]
    tuner = searched(tmp_path, hypermodel=ToyHyperModel(failing=(failing,)))
    trials = tuner.oracle.trials
    assert [trial.status for trial in trials.values()].count("COMPLETED") == 5
    assert trials["1"].status == "FAILED"
    assert f"diverged at x={failing}" in trials["1"].message
    assert capfd.readouterr().err == ""  # no traceback


def test_an_interrupt_that_keras_swallows_is_no_failure_of_the_trial(tmp_path, monkeypatch):
    class Swallowed(ToyHyperModel):
        def fit(self, hp, model, **arguments):
            if len(self.runs) == 2:
                raise TypeError("about something else")
            return super().fit(hp, model, **arguments)

    @contextlib.contextmanager
    def interrupts_kept():  # as if there had been one
        try:
            yield
        except TypeError as error:
            raise KeyboardInterrupt from error

    with monkeypatch.context() as patch:
        patch.setattr(resumable_tuner, "interrupts_kept", interrupts_kept)
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path, hypermodel=Swallowed())
    tuner = searched(tmp_path)
    assert {trial.status for trial in tuner.oracle.trials.values()} == {"COMPLETED"}
    assert tuner.oracle.records["2"]["starts"] == 2


def test_a_search_in_which_all_fail_says_why(tmp_path):
    with pytest.raises(RuntimeError, match=r"first 5 trials all failed.*diverged at x="):
        searched(tmp_path, hypermodel=ToyHyperModel(failing=range(100)))


def test_the_networks_of_the_best_are_kept_and_no_others(tmp_path):
    tuner = searched(tmp_path, trials=8)
    best = tuner.oracle.get_best_trials(3)
    kept = {path.parent.name for path in (tmp_path / "search").glob("trial_*/*.weights.h5")}
    assert kept == {f"trial_{trial.trial_id}" for trial in best}
    bias = tuner.load_model(best[0]).layers[-1].bias
    assert float(bias[0]) == 100 * best[0].hyperparameters["x"] + 1


def test_the_folder_of_another_search_is_rejected_with_the_difference(tmp_path):
    searched(tmp_path)
    with pytest.raises(ValueError, match="epochs is 1 there, 2 here; seed is 0 there, 5 here"):
        toy_tuner(tmp_path / "search", epochs=2, seed=5)
    found = json.loads((tmp_path / "search/search.json").read_text())
    assert (found["epochs"], found["seed"]) == (1, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "hyperbnd"}, "Did you mean 'hyperband'"),
        ({"objective": "val_acuracy"}, "Did you mean 'val_accuracy'"),
        ({"trials": 0}, "`trials` must be an integer of at least 1"),
        ({"epochs": 0}, "`epochs` must be"),
        ({"factor": 1}, "`factor` must be"),
        ({"tolerance": -1.0}, "`tolerance` must be at least 0"),
        ({"seed": -1}, "`seed` must be"),
    ],
)
def test_bad_arguments_are_named(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        toy_tuner(tmp_path / "search", **arguments)
    assert not (tmp_path / "search").exists()


def test_kerastuners_own_tuners_take_the_same_hypermodels(tmp_path):
    class Plain(ToyHyperModel):
        def fit(self, hp, model, callbacks, **_):
            return super().fit(hp, model, 1, 0, callbacks).history["val_accuracy"][-1]

    tuner = keras_tuner.RandomSearch(Plain(), max_trials=2, directory=tmp_path, project_name="x")
    tuner.search(verbose=0)
    assert len(tuner.oracle.trials) == 2
