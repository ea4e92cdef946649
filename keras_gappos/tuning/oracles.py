"""KerasTuner's oracles, made fit for long searches by many workers.

A trial that diverges does not end the search, a worker that dies does not stop it, a process that
is killed leaves files that can be read, and each trial's worker and time are kept.
"""

import contextlib
import datetime
import json
import os
import pathlib
import time

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import TrialStatus

ABOVE_FLOOR = "consistency_above_floor"
_MAX_STARTS = 3  # of one trial, before its workers' deaths are taken for its own fault
_FIRST_FAILURES = 5  # trials that may all fail before the search is given up
_MESSAGE = "message.txt"  # of a failed trial, from its worker, in the trial's folder
_WEIGHTS = "network.weights.h5"
_KEPT = 3  # trained networks that are kept, beside those that may be trained on


def rank_above_floor(accuracies, consistencies, tolerance):
    """Scores whose order is: consistent and accurate enough first.

    Networks whose accuracy is at most `tolerance` below the best one's are compared by consistency;
    each other one is below all of these, the lower the less accurate it is.

    Args:
        accuracies: array `(n,)`, in [0, 1].
        consistencies: array `(n,)`, in [0, 1].
        tolerance: in percentage points, at least 0.

    Returns:
        Array `(n,)`: the consistency, or a negative number.
    """
    accuracies = np.asarray(accuracies, "float64")
    floor = accuracies.max(initial=0.0) - tolerance / 100
    below = floor - accuracies
    return np.where(below <= 1e-9, np.asarray(consistencies, "float64"), -below)


def replace_json(path, content):
    """Writes JSON beside `path` and moves it there, so that a kill leaves the old or the new."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)


class KeptOracle:
    """Mixin for `keras_tuner.Oracle`s.

    Attributes:
        listener: function of the oracle, called when a trial has begun or ended and that is on
            disk; or `None`.
        tolerance: of the objective "consistency_above_floor", in percentage points.
        records: dictionary of trial ids to dictionaries with `worker`, `started` (ISO time of the
            last start), `seconds` (of the last run) and `starts`.
        trouble: an exception that must end the search, or `None`.
        is_done: whether the last one that asked for a trial heard that there is none any more.
    """

    listener = None
    tolerance = 0.0
    trouble = None
    is_done = False

    def __init__(self, *args, **kwargs):
        self.records, self._begun = {}, {}
        super().__init__(*args, **kwargs)

    @keras_tuner.synchronized
    def create_trial(self, tuner_id):
        """As KerasTuner's; idle, not stopped, while a trial that others do could be lost."""
        trial = super().create_trial(tuner_id)
        self.is_done = trial.status == TrialStatus.STOPPED
        if self.is_done and self.ongoing_trials and not self.trouble:
            trial.status = TrialStatus.IDLE
            self.tuner_ids.add(tuner_id)
        if trial.status == TrialStatus.RUNNING:
            self._note_start(trial, tuner_id)
        return trial

    def populate_space(self, trial_id):
        """As KerasTuner's, until there is trouble."""
        return {"status": TrialStatus.STOPPED} if self.trouble else super().populate_space(trial_id)

    @keras_tuner.synchronized
    def update_trial(self, trial_id, metrics, step=0):
        """As KerasTuner's; nothing for a trial that has ended already."""
        if trial_id in self.end_order:
            return self.trials[trial_id]
        return super().update_trial(trial_id, metrics, step)

    @keras_tuner.synchronized
    def end_trial(self, trial):
        """As KerasTuner's; nothing for a trial that has ended already, in another worker."""
        trial_id = trial.trial_id
        if trial_id in self.end_order:
            return
        if trial_id in self._retry_queue:  # its worker was taken for lost, and was not
            self._retry_queue.remove(trial_id)
        if trial.message is None:
            with contextlib.suppress(OSError):
                trial.message = (pathlib.Path(self._get_trial_dir(trial_id)) / _MESSAGE).read_text()
        begun = self._begun.pop(trial_id, None)
        if begun is not None:
            self.records[trial_id]["seconds"] = round(time.monotonic() - begun, 1)
        super().end_trial(trial)
        self._remove_old_weights()
        self.notify()

    @keras_tuner.synchronized
    def lose_worker(self, tuner_id):
        """Gives the trial of a worker that is no more to the next one that asks."""
        self.tuner_ids.discard(tuner_id)
        trial = self.ongoing_trials.pop(tuner_id, None)
        if trial is None:
            return
        if self.records[trial.trial_id]["starts"] < _MAX_STARTS:
            self._retry_queue.append(trial.trial_id)
        else:
            trial.status = TrialStatus.FAILED
            trial.message = f"{_MAX_STARTS} workers were lost with this trial."
            self.end_order.append(trial.trial_id)
            self._check_consecutive_failures()
            self._save_trial(trial)
        self.save()
        self.notify()

    def score_trial(self, trial):
        """By the objective; above a floor, trials of as many epochs are compared anew."""
        if self.objective.name != ABOVE_FLOOR:
            super().score_trial(trial)
            return
        epochs = trial.hyperparameters.values.get("tuner/epochs")
        others = [t for t in self._completed() if t.trial_id != trial.trial_id]
        alike = [t for t in others if t.hyperparameters.values.get("tuner/epochs") == epochs]
        for scored, score in zip([trial, *alike], self._floor_scores([trial, *alike])):
            changed, scored.score = scored.score != score, score
            if changed and scored is not trial:
                self._save_trial(scored)

    def get_best_trials(self, num_trials=1):
        """The best completed trials, best first."""
        trials = self._completed()
        if self.objective.name == ABOVE_FLOOR:
            scores = self._floor_scores(trials)
        else:
            scores = [trial.score for trial in trials]
        order = sorted(zip(scores, trials), key=lambda pair: -pair[0])
        return [trial for _, trial in order[:num_trials]]

    def notify(self):
        """Calls the listener; what it raises is for the search to raise, outside of the lock."""
        if self.listener is not None and self.trouble is None:
            try:
                self.listener(self)
            except Exception as error:
                self.trouble = error

    def save(self):
        """Writes the oracle's state in one move."""
        self._write(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial):
        folder = pathlib.Path(self._get_trial_dir(trial.trial_id))
        self._write(folder / "trial.json", trial.get_state())

    def _write(self, path, state):
        try:
            replace_json(path, state)
        except OSError as error:  # raised here, KerasTuner would never let go of its lock
            self.trouble = self.trouble or error

    def get_state(self):
        """As KerasTuner's, with the records."""
        return {**super().get_state(), "records": self.records}

    def set_state(self, state):
        """As KerasTuner's, with the records."""
        super().set_state(state)
        self.records = state["records"]

    def reload(self):
        """As KerasTuner's; trials that a kill left between two files are mended."""
        super().reload()
        for trial_id in set(self.trials) - set(self.start_order):
            del self.trials[trial_id]  # it had begun on disk, but not in the oracle's file
        for trial_id in list(self._retry_queue):
            if self.trials[trial_id].status in (TrialStatus.COMPLETED, TrialStatus.FAILED):
                self._retry_queue.remove(trial_id)  # it had ended on disk
                if trial_id not in self.end_order:
                    self.end_order.append(trial_id)

    def _note_start(self, trial, tuner_id):
        record = self.records.setdefault(trial.trial_id, {"starts": 0, "seconds": None})
        record["worker"], record["starts"] = tuner_id, record["starts"] + 1
        record["started"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._begun[trial.trial_id] = time.monotonic()
        self.save()
        self.notify()

    def _check_consecutive_failures(self):
        # KerasTuner raises after three failures in a row, and never lets go of its lock then.
        ended = [self.trials[trial_id] for trial_id in self.end_order]
        if all(trial.status == TrialStatus.FAILED for trial in ended):
            limit = min(_FIRST_FAILURES, self.max_trials or _FIRST_FAILURES)
            if len(ended) >= limit and self.trouble is None:
                self.trouble = RuntimeError(
                    f"The search is given up: its first {len(ended)} trials all failed, the last "
                    f"one with: {last_line(ended[-1].message)}"
                )

    def _completed(self):
        trials = self.trials.values()
        return [trial for trial in trials if trial.status == TrialStatus.COMPLETED]

    def _floor_scores(self, trials):
        values = [
            [trial.metrics.get_last_value(name) for trial in trials]
            for name in ("val_accuracy", "val_shift_consistency")
        ]
        return rank_above_floor(*values, self.tolerance).tolist()

    def _remove_old_weights(self):
        """Removes the networks of trials that are neither among the best nor trained on later."""
        brackets = getattr(self, "_brackets", ())
        wanted = {trial.trial_id for trial in self.get_best_trials(_KEPT)}
        wanted |= {info["id"] for b in brackets for found in b["rounds"] for info in found}
        for trial_id in set(self.end_order) - wanted:
            (pathlib.Path(self._get_trial_dir(trial_id)) / _WEIGHTS).unlink(missing_ok=True)


def last_line(message):
    """What a traceback, or any text, ends with; `None` for `None`."""
    lines = (message or "").strip().splitlines()
    return lines[-1].removeprefix("keras_tuner.src.errors.FailedTrialError: ") if lines else None


class RandomOracle(KeptOracle, keras_tuner.oracles.RandomSearchOracle):
    """Settings drawn at random."""


class BayesianOracle(KeptOracle, keras_tuner.oracles.BayesianOptimizationOracle):
    """Settings drawn where a Gaussian process expects the best."""


class HyperbandOracle(KeptOracle, keras_tuner.oracles.HyperbandOracle):
    """Settings drawn at random, of which the better ones are trained longer."""
