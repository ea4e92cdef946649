import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import keras_tuner
import pytest

from keras_gappos.experiments.tune.progress import rows_of
from keras_gappos.experiments.tune.report import rank_trials
from keras_gappos.tuning.objective import ABOVE_FLOOR, OBJECTIVES
from keras_gappos.tuning.resumable.hyperband import HyperbandOracle
from keras_gappos.tuning.resumable.oracles import RandomOracle, last_line


def oracle_in(folder, Oracle=RandomOracle, objective="val_accuracy", **arguments):
    limits = {"max_epochs": 9} if Oracle is HyperbandOracle else {"max_trials": 6}
    hp = keras_tuner.HyperParameters()
    hp.Int("x", 0, 99)
    arguments = {"hyperparameters": hp, **limits, **arguments}
    oracle = Oracle(objective=keras_tuner.Objective(objective, "max"), seed=1, **arguments)
    oracle._set_project_dir(str(folder), "search")
    oracle.verbose = 0
    return oracle


def finish(oracle, trial, accuracy=0.5, consistency=50.0, status="COMPLETED", classes=None):
    if status == "COMPLETED":
        values = {"val_accuracy": accuracy, "val_shift_consistency": consistency}
        if classes is not None:
            values["val_num_predicted_classes"] = classes
        oracle.update_trial(trial.trial_id, {**values, ABOVE_FLOOR: consistency})
    trial.status = status
    oracle.end_trial(trial)


def test_a_better_trial_lowers_the_score_of_one_that_it_leaves_below_the_floor(tmp_path):
    oracle = oracle_in(tmp_path, objective=ABOVE_FLOOR)
    oracle.tolerance = 1.0
    first, second = (oracle.create_trial(name) for name in ("a", "b"))
    finish(oracle, first, accuracy=0.70, consistency=90.0)
    assert oracle.trials[first.trial_id].score == 90
    finish(oracle, second, accuracy=0.75, consistency=60.0)
    assert oracle.trials[first.trial_id].score == -4
    assert [t.trial_id for t in oracle.get_best_trials(2)] == [second.trial_id, first.trial_id]
    on_disk = json.loads((tmp_path / "search/trial_0/trial.json").read_text())
    assert on_disk["score"] == -4


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_of_equal_trials_the_oracle_and_the_table_choose_the_same(objective, tmp_path):
    oracle = oracle_in(tmp_path, objective=objective)
    oracle.tolerance = 2.0
    trials = [oracle.create_trial(name) for name in "abc"]
    for trial, accuracy in zip(reversed(trials), (0.81, 0.8, 0.79)):
        finish(oracle, trial, 0.8 if objective == "val_accuracy" else accuracy, consistency=90.0)
    best = [trial.trial_id for trial in oracle.get_best_trials(3)]
    rows = rows_of(oracle)
    assert {(row["val_shift_consistency"], row["score"] >= 80) for row in rows} == {(90, True)}
    table = rank_trials(rows, objective, tolerance=2.0)
    assert best == [str(row["trial"]) for row in table] == ["0", "1", "2"]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_network_that_predicts_one_class_is_last_in_the_oracle_and_the_table(objective, tmp_path):
    oracle = oracle_in(tmp_path, objective=objective)
    oracle.tolerance = 50.0
    collapsed, sound, older = (oracle.create_trial(name) for name in "abc")
    finish(oracle, collapsed, accuracy=0.9, consistency=100.0, classes=1)
    finish(oracle, sound, accuracy=0.6, consistency=70.0, classes=2)
    finish(oracle, older, accuracy=0.5, consistency=60.0)
    best = [trial.trial_id for trial in oracle.get_best_trials(3)]
    rows = rows_of(oracle)
    table = rank_trials(rows, objective, tolerance=50.0)
    assert best == [str(row["trial"]) for row in table] == ["1", "2", "0"]
    assert collapsed.score <= -100 and oracle.trials[sound.trial_id].score > 50
    assert [row.get("num_predicted_classes") for row in rows] == [1, 2, None]


def test_hyperband_compares_trials_of_as_many_epochs_and_the_best_is_of_all(tmp_path):
    oracle = oracle_in(tmp_path, HyperbandOracle, ABOVE_FLOOR)
    short = [oracle.create_trial("a")]
    finish(oracle, short[0], accuracy=0.3, consistency=90.0)
    for _ in range(8):
        short.append(oracle.create_trial("a"))
        finish(oracle, short[-1], accuracy=0.2, consistency=50.0)
    longer = oracle.create_trial("a")
    values = longer.hyperparameters.values
    assert (values["tuner/trial_id"], values["tuner/epochs"]) == (short[0].trial_id, 3)
    finish(oracle, longer, accuracy=0.6, consistency=40.0)
    assert oracle.trials[short[0].trial_id].score == 90
    assert oracle.get_best_trials()[0].trial_id == longer.trial_id


def test_the_worker_and_the_time_of_a_trial_are_kept(tmp_path):
    oracle = oracle_in(tmp_path)
    finish(oracle, oracle.create_trial("worker7"))
    again = oracle_in(tmp_path)
    again.reload()
    (record,) = again.records.values()
    assert (record["worker"], record["starts"]) == ("worker7", 1)
    assert record["seconds"] >= 0 and record["started"].endswith("+00:00")


def test_failures_in_a_row_do_not_end_a_search_that_has_had_a_success(tmp_path):
    oracle = oracle_in(tmp_path, max_trials=8)
    finish(oracle, oracle.create_trial("a"))
    for _ in range(7):
        finish(oracle, oracle.create_trial("a"), status="FAILED")
    assert oracle.fatal_error is None
    assert oracle.create_trial("a").status == "STOPPED"


def test_a_search_whose_first_trials_all_fail_is_given_up(tmp_path):
    oracle = oracle_in(tmp_path)
    for _ in range(5):
        trial = oracle.create_trial("a")
        trial.message = "Traceback\nValueError: no such thing"
        finish(oracle, trial, status="FAILED")
    assert oracle.create_trial("a").status == "STOPPED"
    with pytest.raises(RuntimeError, match=r"first 5 trials all failed.*ValueError: no such thing"):
        raise oracle.fatal_error


def test_a_search_that_ends_sooner_is_given_up_too_if_all_failed(tmp_path):
    oracle = oracle_in(tmp_path, HyperbandOracle, max_epochs=1)
    finish(oracle, oracle.create_trial("a"), status="FAILED")
    assert oracle.create_trial("a").status == "STOPPED"
    assert "its trial failed" in str(oracle.fatal_error)
    again = oracle_in(tmp_path, HyperbandOracle, max_epochs=1)
    again.reload()
    assert str(again.fatal_error) == str(oracle.fatal_error)


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize("objective", ["val_accuracy", ABOVE_FLOOR])
def test_not_a_number_is_a_failure_and_changes_no_other_score(tmp_path, objective):
    oracle = oracle_in(tmp_path, objective=objective)
    good, trial = oracle.create_trial("a"), oracle.create_trial("b")
    finish(oracle, good, accuracy=0.7, consistency=70.0)
    finish(oracle, trial, accuracy=float("nan"))
    failed = oracle.trials[trial.trial_id]
    assert (failed.status, failed.message) == ("FAILED", f"{objective} is not a finite number.")
    assert good.score == 70


def test_a_lost_workers_trial_goes_to_the_next_and_fails_after_three(tmp_path):
    oracle = oracle_in(tmp_path)
    trial = oracle.create_trial("a")
    for lost, following in (("a", "b"), ("b", "c")):
        oracle.lose_worker(lost)
        assert oracle.create_trial(following).trial_id == trial.trial_id
    oracle.lose_worker("c")
    kept = oracle.trials[trial.trial_id]
    assert (kept.status, oracle.records[trial.trial_id]["starts"]) == ("FAILED", 3)
    assert "3 workers" in kept.message
    assert oracle.create_trial("d").trial_id != trial.trial_id


def test_a_worker_that_was_taken_for_lost_may_still_end_its_trial(tmp_path):
    oracle = oracle_in(tmp_path)
    trial = oracle.create_trial("a")
    oracle.lose_worker("a")
    finish(oracle, trial, accuracy=0.6)  # while it waits for another worker
    assert oracle.create_trial("b").trial_id != trial.trial_id
    assert oracle.end_order == [trial.trial_id]


def test_a_trial_that_two_workers_did_counts_once(tmp_path):
    oracle = oracle_in(tmp_path)
    trial = oracle.create_trial("a")
    oracle.lose_worker("a")
    same = oracle.create_trial("b")
    finish(oracle, same, accuracy=0.6)
    finish(oracle, trial, accuracy=0.1)
    assert oracle.end_order == [trial.trial_id]
    assert oracle.trials[trial.trial_id].metrics.get_last_value("val_accuracy") == 0.6


def test_nobody_is_sent_home_while_a_trial_may_still_be_lost(tmp_path):
    oracle = oracle_in(tmp_path, max_trials=1)
    trial = oracle.create_trial("a")
    assert oracle.create_trial("b").status == "IDLE"
    oracle.lose_worker("a")
    same = oracle.create_trial("b")
    assert same.trial_id == trial.trial_id
    finish(oracle, same)
    assert oracle.create_trial("b").status == "STOPPED"
    assert oracle.is_done and not oracle.tuner_ids


def hyperband_rungs(oracle, workers, failing=()):
    """How many trials each bracket has of each number of epochs, after a search."""
    begun = {}
    for _ in range(200):
        for worker in workers:
            if worker not in begun:
                trial = oracle.create_trial(worker)
                begun |= {worker: trial} if trial.status == "RUNNING" else {}
                if trial.status == "STOPPED":
                    values = [t.hyperparameters.values for t in oracle.trials.values()]
                    return Counter((v["tuner/bracket"], v["tuner/epochs"]) for v in values)
        for worker, trial in list(begun.items())[:1]:
            number = int(trial.trial_id)
            status = "FAILED" if number in failing else "COMPLETED"
            finish(oracle, begun.pop(worker), accuracy=number / 100, status=status)
    raise AssertionError("The search does not end.")


WHOLE = {(2, 1): 9, (2, 3): 3, (2, 9): 1, (1, 3): 5, (1, 9): 2, (0, 9): 3}


@pytest.mark.parametrize("workers", ["a", "ab"])
@pytest.mark.parametrize("failing", [(), (1,), range(1, 7)])
def test_hyperband_ends_its_brackets_whatever_fails(tmp_path, workers, failing):
    oracle = oracle_in(tmp_path, HyperbandOracle)
    assert hyperband_rungs(oracle, workers, failing) == WHOLE
    assert oracle.fatal_error is None


def test_hyperband_trains_the_one_that_is_left_to_the_end(tmp_path):
    oracle = oracle_in(tmp_path, HyperbandOracle)
    assert hyperband_rungs(oracle, "a", range(1, 9)) == WHOLE | {(2, 3): 1}


def test_hyperband_trains_the_better_ones_of_a_space_that_is_soon_exhausted(tmp_path):
    hp = keras_tuner.HyperParameters()
    hp.Choice("x", [1, 2, 3, 4])
    oracle = oracle_in(tmp_path, HyperbandOracle, hyperparameters=hp)
    assert hyperband_rungs(oracle, "ab") == {(2, 1): 4, (2, 3): 3, (2, 9): 1}


def test_a_network_is_kept_while_another_trial_may_begin_with_it(tmp_path):
    oracle = oracle_in(tmp_path, HyperbandOracle)

    def begin(worker):
        trial = oracle.create_trial(worker)
        if trial.status == "RUNNING":
            (tmp_path / f"search/trial_{trial.trial_id}/network.weights.h5").touch()
        return trial

    def kept():
        return {path.parent.name for path in tmp_path.glob("search/*/*.h5")}

    while (last := begin("a")).hyperparameters.values["tuner/epochs"] < 9:
        finish(oracle, last, accuracy=0.1)
    for number in range(5):  # of the next bracket, and better than the one that is trained on
        finish(oracle, begin("other"), accuracy=0.5 + number / 100)
    assert f"trial_{last.hyperparameters.values['tuner/trial_id']}" in kept()
    finish(oracle, last, accuracy=0.9)
    while (trial := begin("other")).status == "RUNNING":
        finish(oracle, trial, accuracy=0.4)
    assert kept() == {f"trial_{trial.trial_id}" for trial in oracle.get_best_trials(3)}


def test_a_kill_between_two_files_is_mended(tmp_path):
    oracle = oracle_in(tmp_path)
    ended, running = oracle.create_trial("a"), oracle.create_trial("b")
    state = (tmp_path / "search/oracle.json").read_text()
    finish(oracle, ended, accuracy=0.7)
    lost = oracle.create_trial("a")
    (tmp_path / "search/oracle.json").write_text(state)  # as if killed before it was replaced
    again = oracle_in(tmp_path)
    again.reload()
    assert lost.trial_id not in again.trials
    assert again.end_order == [ended.trial_id]
    assert again.create_trial("c").trial_id == running.trial_id


def test_a_chief_that_is_started_again_leaves_trials_to_their_workers(tmp_path):
    oracle = oracle_in(tmp_path)
    alive, lost = oracle.create_trial("alive"), oracle.create_trial("lost")
    for _ in range(4):  # its losses with a chief are not the trial's fault
        again = oracle_in(tmp_path)
        again.reload()
        again.await_workers()
        again.lose_worker("lost")
        assert again.create_trial("lost").trial_id == lost.trial_id
    assert again.create_trial("new").trial_id not in (alive.trial_id, lost.trial_id)
    finish(again, alive)
    assert again.end_order == [alive.trial_id]
    assert again.records[alive.trial_id]["seconds"] >= 0  # though another process began it


def test_a_worker_that_is_started_again_and_again_in_a_trial_fails_it(tmp_path):
    oracle = oracle_in(tmp_path)
    trials = [oracle.create_trial("a") for _ in range(4)]
    assert [trial.trial_id for trial in trials] == ["0", "0", "0", "1"]
    assert oracle.trials["0"].status == "FAILED"


def test_a_search_is_not_over_when_all_workers_are_lost_with_its_last_trial(tmp_path):
    oracle = oracle_in(tmp_path, max_trials=1)
    trial = oracle.create_trial("a")
    assert oracle.create_trial("b").status == "IDLE"
    oracle.lose_worker("a")
    oracle.lose_worker("b")
    assert not oracle.is_done
    assert oracle.create_trial("c").trial_id == trial.trial_id


def test_a_worker_of_another_search_changes_nothing(tmp_path):
    oracle, other = oracle_in(tmp_path / "one"), oracle_in(tmp_path / "other")
    finish(other, other.create_trial("a"))
    finish(oracle, other.create_trial("a"))
    assert not oracle.trials and oracle.fatal_error is None
    with ThreadPoolExecutor() as pool:  # nothing has been left locked
        assert pool.submit(oracle.create_trial, "b").result(10).status == "RUNNING"


def test_the_last_report_of_a_trial_counts(tmp_path):
    oracle = oracle_in(tmp_path)
    trial = oracle.create_trial("a")
    oracle.update_trial(trial.trial_id, {"val_accuracy": 0.9})  # its worker is lost after that
    finish(oracle, trial, accuracy=0.5)
    assert trial.score == 50


def test_a_message_of_a_run_before_is_not_that_of_a_completed_trial(tmp_path):
    oracle = oracle_in(tmp_path)
    completed, failed = oracle.create_trial("a"), oracle.create_trial("b")
    for trial in (completed, failed):
        (tmp_path / f"search/trial_{trial.trial_id}/message.txt").write_text("it diverged")
    finish(oracle, completed)
    finish(oracle, failed, status="FAILED")
    assert (completed.message, failed.message) == (None, "it diverged")


def test_what_the_listener_raises_ends_the_search(tmp_path):
    oracle = oracle_in(tmp_path)

    def listener(_):
        raise OSError("no space left")

    oracle.listener = listener
    trial = oracle.create_trial("a")
    finish(oracle, trial)
    assert oracle.create_trial("a").status == "STOPPED"
    assert str(oracle.fatal_error) == "no space left"


def test_a_full_disk_ends_the_search_and_does_not_lock_it(tmp_path, monkeypatch):
    oracle = oracle_in(tmp_path)
    trial = oracle.create_trial("a")

    def write(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keras_gappos.tuning.resumable.oracles.write_json", write)
    finish(oracle, trial)
    assert oracle.create_trial("a").status == "STOPPED"
    assert oracle.fatal_error.errno == 28


def test_the_last_line_of_a_message():
    text = "Traceback\n  File\nkeras_tuner.src.errors.FailedTrialError: it diverged\n"
    assert (last_line(text), last_line(None), last_line("")) == ("it diverged", None, None)
