"""KerasTuner's oracles for long searches with many workers.

A search survives trials that diverge and workers that die. A killed process leaves valid files.
Each trial's worker and time are recorded.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import pathlib
import time
from collections.abc import Callable

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus

from keras_gappos.files import write_json
from keras_gappos.tuning.objective import (
    ABOVE_FLOOR,
    best_first,
    is_collapsed,
    objective_scores,
    score_above_floor,
)

_MAX_LOSSES = 3  # lost workers of one trial before it counts as failed
_FIRST_FAILURES = 5  # the search ends if the first trials all fail, this many
MESSAGE = "message.txt"  # in a failed trial's folder, from its worker
WEIGHTS = "network.weights.h5"
_KEPT = 3  # networks kept, besides those that may be trained further
ENDED = (TrialStatus.COMPLETED, TrialStatus.FAILED)


class ResumableOracle:
    """Mixin for `keras_tuner.Oracle`s.

    Attributes:
        listener: function of the oracle, called when the start or end of a trial is on disk; or
            `None`.
        tolerance: of the objective "consistency_above_floor", in percentage points.
        records: dictionary from trial id to a dictionary with `worker`, `started` (ISO time of the
            last start), `seconds` (of the last run) and `starts`.
        fatal_error: an exception that must end the search, or `None`.
        is_done: whether no trial was left at the last request.
    """

    max_trials: int | None
    verbose: int
    trials: dict[str, Trial]
    ongoing_trials: dict[str, Trial]  # by worker
    tuner_ids: set[str]
    end_order: list[str]
    listener: Callable[[ResumableOracle], None] | None = None
    tolerance = 0.0
    fatal_error = None
    is_done = False

    def __init__(self, *args, **kwargs):
        self.records, self._begun, self._losses = {}, {}, collections.Counter()
        super().__init__(*args, **kwargs)

    @keras_tuner.synchronized
    def create_trial(self, tuner_id):
        """KerasTuner's, but idle instead of stopped while other workers' trials could be lost."""
        trial = Trial(keras_tuner.HyperParameters(), status=TrialStatus.STOPPED)
        if self.fatal_error is None:
            with self._keeping_fatal_error():
                if tuner_id in self.ongoing_trials:  # it was restarted during a trial
                    self.lose_worker(tuner_id)
                trial = super().create_trial(tuner_id)
                self._note_answer(trial, tuner_id)
        if self.fatal_error is not None:
            self.tuner_ids.discard(tuner_id)
            trial = Trial(keras_tuner.HyperParameters(), status=TrialStatus.STOPPED)
        return trial

    @keras_tuner.synchronized
    def update_trial(self, trial_id, metrics, step=0):
        """KerasTuner's, but the last report replaces earlier ones; ignores trials that ended."""
        trial = self.trials.get(trial_id)
        if trial is None:  # of a worker of another search
            return Trial(self.get_space(), trial_id)
        if trial_id not in self.end_order:
            with self._keeping_fatal_error():
                trial.metrics = type(trial.metrics)()
                super().update_trial(trial_id, metrics, step)
        return trial

    @keras_tuner.synchronized
    def end_trial(self, trial):
        """KerasTuner's; ignores a trial that has already ended in another worker."""
        trial_id = trial.trial_id
        if trial_id in self.end_order or trial_id not in self.trials:
            return
        if trial_id in self._retry_queue:  # its worker was presumed lost
            self._retry_queue.remove(trial_id)
        if trial.status != TrialStatus.COMPLETED and trial.message is None:
            with contextlib.suppress(OSError):
                trial.message = (pathlib.Path(self._get_trial_dir(trial_id)) / MESSAGE).read_text()
        with self._keeping_fatal_error():
            self._note_end(trial_id)
            super().end_trial(trial)
            self._remove_old_weights()
        self.notify()

    @keras_tuner.synchronized
    def lose_worker(self, tuner_id, reason=""):
        """Reassigns the trial of a worker that has ended.

        Args:
            tuner_id: the worker's name.
            reason: how it ended, if known.
        """
        self.tuner_ids.discard(tuner_id)
        trial = self.ongoing_trials.pop(tuner_id, None)
        if trial is None:
            return
        self._losses[trial.trial_id] += 1
        with self._keeping_fatal_error():
            if self._losses[trial.trial_id] < _MAX_LOSSES:
                self._retry_queue.append(trial.trial_id)
            else:
                trial.status = TrialStatus.FAILED
                trial.message = f"{_MAX_LOSSES} workers were lost with this trial. {reason}".strip()
                self._note_end(trial.trial_id)
                self.end_order.append(trial.trial_id)
                self._check_consecutive_failures()
                self._save_trial(trial)
            self.save()
        self.notify()

    @keras_tuner.synchronized
    def await_workers(self):
        """Keeps the trials that ran at the last save assigned to their workers.

        For a restarted chief, whose workers may still run; `lose_worker` reports those that do not.
        """
        for trial_id in list(self._retry_queue):
            worker = self.records.get(trial_id, {}).get("worker")
            if worker is not None and worker not in self.ongoing_trials:
                self._retry_queue.remove(trial_id)
                self.ongoing_trials[worker] = self.trials[trial_id]
                self._losses[trial_id] -= 1  # it may have ended with the chief

    def score_trial(self, trial):
        """Scores by the objective, in percent; with a floor, rescores trials of the same length.

        A network that has collapsed to one class scores below all others, whatever the objective.
        """
        if not np.isfinite(self._objective_values(trial)).all():
            trial.score = float("nan")  # KerasTuner then counts it as failed
            trial.message = f"{self.objective.name} is not a finite number."
            return
        super().score_trial(trial)
        if self.objective.name == ABOVE_FLOOR:
            self._score_above_floor(trial)
        else:
            score, collapsed = self._objective_values(trial), [_collapsed(trial)]
            name = self.objective.name
            (trial.score,) = objective_scores(name, score, score, 0.0, collapsed).tolist()

    def _score_above_floor(self, trial):
        epochs = trial.hyperparameters.values.get("tuner/epochs")
        others = [t for t in self._completed() if t.trial_id != trial.trial_id]
        alike = [t for t in others if t.hyperparameters.values.get("tuner/epochs") == epochs]
        for scored, score in zip([trial, *alike], self._floor_scores([trial, *alike])):
            changed, scored.score = scored.score != score, score
            if changed and scored is not trial:
                self._save_trial(scored)

    def get_best_trials(self, num_trials=1):
        """The best completed trials, best first; on a tie, the earlier comes first."""
        trials = self._completed()
        if self.objective.name == ABOVE_FLOOR:
            scores = self._floor_scores(trials)
        else:
            scores = [trial.score for trial in trials]
        order = best_first(scores, [int(trial.trial_id) for trial in trials])
        return [trials[index] for index in order[:num_trials]]

    def notify(self):
        """Calls the listener; its errors are raised by the search, outside the lock."""
        if self.listener is not None and self.fatal_error is None:
            with self._keeping_fatal_error():
                self.listener(self)

    def save(self):
        """Writes the oracle's state atomically."""
        self._write(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial):
        folder = pathlib.Path(self._get_trial_dir(trial.trial_id))
        self._write(folder / "trial.json", trial.get_state())

    def _write(self, path, state):
        with self._keeping_fatal_error():
            write_json(path, state)

    @contextlib.contextmanager
    def _keeping_fatal_error(self):
        """Keeps an error for later: raised here, KerasTuner would stay locked."""
        try:
            yield
        except Exception as error:
            self.fatal_error = self.fatal_error or error

    def get_state(self):
        """KerasTuner's, plus the records."""
        return {**super().get_state(), "records": self.records, "is_done": self.is_done}

    def set_state(self, state):
        """KerasTuner's, plus the records."""
        super().set_state(state)
        self.records, self.is_done = state["records"], state.get("is_done", False)

    def reload(self):
        """KerasTuner's; repairs trials whose files a kill left inconsistent."""
        super().reload()
        for trial_id in set(self.trials) - set(self.start_order):
            del self.trials[trial_id]  # it has a file, but is not in the oracle's
        for trial_id in list(self._retry_queue):
            if self.trials[trial_id].status in ENDED:
                self._retry_queue.remove(trial_id)  # its file says that it ended
                if trial_id not in self.end_order:
                    self.end_order.append(trial_id)
                path = pathlib.Path(self._get_trial_dir(trial_id)) / "trial.json"
                self._note_end(trial_id, path.stat().st_mtime)
        if self.is_done:
            self._give_up_if_all_failed(1)

    def _note_answer(self, trial, tuner_id):
        self.is_done = trial.status == TrialStatus.STOPPED and not self.ongoing_trials
        if trial.status == TrialStatus.RUNNING:
            self._note_start(trial, tuner_id)
        elif self.is_done:
            self._give_up_if_all_failed(1)
            self._remove_old_weights()
            self.save()
        elif trial.status == TrialStatus.STOPPED:
            trial.status = TrialStatus.IDLE
            self.tuner_ids.add(tuner_id)

    def _note_start(self, trial, tuner_id):
        record = self.records.setdefault(trial.trial_id, {"starts": 0, "seconds": None})
        record["worker"], record["starts"] = tuner_id, record["starts"] + 1
        now = datetime.datetime.now(datetime.timezone.utc)
        record["started"] = now.isoformat(timespec="seconds")
        self._begun[trial.trial_id] = time.monotonic()
        self.save()
        self.notify()

    def _note_end(self, trial_id, now=None):
        record, begun = self.records[trial_id], self._begun.pop(trial_id, None)
        if begun is not None and now is None:
            seconds = time.monotonic() - begun
        elif record["seconds"] is None:  # another process started it
            started = datetime.datetime.fromisoformat(record["started"]).timestamp()
            seconds = max(0.0, (now or time.time()) - started)
        else:
            return
        record["seconds"] = round(seconds, 1)

    def _check_consecutive_failures(self):
        # KerasTuner would end a search after any three consecutive failures.
        self._give_up_if_all_failed(min(_FIRST_FAILURES, self.max_trials or _FIRST_FAILURES))

    def _give_up_if_all_failed(self, limit):
        ended = [self.trials[trial_id] for trial_id in self.end_order]
        if len(ended) < limit or self.fatal_error is not None:
            return
        if all(trial.status == TrialStatus.FAILED for trial in ended):
            trials = f"first {len(ended)} trials all" if len(ended) > 1 else "trial"
            self.fatal_error = RuntimeError(
                f"The search has ended because its {trials} failed, the last one with: "
                f"{last_line(ended[-1].message)}"
            )

    def _completed(self):
        trials = self.trials.values()
        return [trial for trial in trials if trial.status == TrialStatus.COMPLETED]

    def _objective_values(self, trial):
        """The metrics of the objective, from the last epoch, in percent."""
        names = [self.objective.name]
        if names == [ABOVE_FLOOR]:
            names = ["val_accuracy", "val_shift_consistency"]
        return [last_percent(trial, name) for name in names]

    def _floor_scores(self, trials):
        values = np.reshape([self._objective_values(trial) for trial in trials], (-1, 2))
        return score_above_floor(*values.T, self.tolerance, list(map(_collapsed, trials))).tolist()

    def _remove_old_weights(self):
        """Removes the networks that are neither among the best nor may be trained further."""
        brackets = () if self.is_done else getattr(self, "_brackets", ())
        wanted = {trial.trial_id for trial in self.get_best_trials(_KEPT)}
        wanted |= {info["id"] for b in brackets for found in b["rounds"] for info in found}
        for trial_id in set(self.end_order) - wanted:
            with contextlib.suppress(OSError):
                (pathlib.Path(self._get_trial_dir(trial_id)) / WEIGHTS).unlink()


def last_percent(trial: Trial, metric: str) -> float:
    """A trial's metric after its last epoch, in percent; Keras' accuracy is in [0, 1]."""
    value = trial.metrics.get_last_value(metric)
    return 100 * value if metric == "val_accuracy" else value


def _collapsed(trial):
    metrics, name = trial.metrics, "val_num_predicted_classes"
    count = metrics.get_last_value(name) if metrics.exists(name) else None
    return is_collapsed({"num_predicted_classes": count})


def last_line(message: str | None) -> str | None:
    """The last line of a traceback or other text; `None` for `None`."""
    lines = (message or "").strip().splitlines()
    return lines[-1].removeprefix("keras_tuner.src.errors.FailedTrialError: ") if lines else None


class RandomOracle(ResumableOracle, keras_tuner.oracles.RandomSearchOracle):
    """Random settings."""


class BayesianOracle(ResumableOracle, keras_tuner.oracles.BayesianOptimizationOracle):
    """Settings that a Gaussian process expects to be good."""
