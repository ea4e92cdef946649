"""One tuner for all of KerasTuner's oracles."""

import contextlib
import copy
import json
import pathlib
import time
import traceback

import keras
import keras_tuner
from keras_tuner.engine.trial import TrialStatus

from keras_gappos.files import (
    check_same_run,
    is_full,
    replacing,
    weights_in_memory,
    write_bytes,
    write_json,
)
from keras_gappos.interrupts import EndAtInterrupt, interrupts_kept
from keras_gappos.training.prepared_model import PreparedModel
from keras_gappos.tuning.objective import ABOVE_FLOOR
from keras_gappos.tuning.resumable.oracles import MESSAGE, WEIGHTS
from keras_gappos.tuning.resumable.role import take_role

FILE_NAME = "search.json"  # identifies the search in a folder
_REQUEST_INTERVAL = 0.5  # seconds


class ResumableTuner(keras_tuner.Tuner):
    """Trains the trials of any `ResumableOracle`.

    Args:
        oracle: a `ResumableOracle`.
        hypermodel: a `keras_tuner.HyperModel` whose `fit` accepts `epochs`, `initial_epoch` and
            `callbacks`, and returns a `History`.
        epochs: passes over the data, unless the oracle sets it.
        directory: folder of the search.
        strategy: a distribution strategy with a `scope`, or `None`.
        identity: dictionary that identifies the search.
    """

    def __init__(self, oracle, hypermodel, epochs, directory, strategy, identity) -> None:
        self._epochs, self._strategy, self._asked = epochs, strategy, 0.0
        self._identity, self._role = identity, take_role()
        directory = pathlib.Path(directory)
        # A worker checks in `search`: its chief may not have started yet.
        if not self._has_chief and not _is_recorded(
            directory, identity, f"`directory` {directory} holds another search"
        ):
            write_json(directory / FILE_NAME, identity)
        super().__init__(
            oracle, hypermodel, directory=str(directory.parent), project_name=directory.name
        )
        if self._has_chief:
            self.oracle.stub = _cluster().connect(self._role)
        else:
            self.save()  # a search can be killed from now on

    def search(self, *args, **kwargs):
        """Runs all trials, here or in workers; accepts the arguments of the hypermodel's `fit`.

        Raises:
            RuntimeError: if the first trials all fail.
            OSError: if a worker's chief cannot be reached or has another folder, or a chief cannot
                listen.
            ValueError: if a worker's chief runs another search.
        """
        folder = pathlib.Path(self.project_dir)
        if self._has_chief:
            _cluster().wait_for_chief(self._role)
            self._check_chief(folder)
            with _cluster().heartbeat(self._role, folder):
                super().search(*args, **kwargs)
            self.oracle = self.oracle._oracle  # read the folder: the chief may be gone
            self.oracle.reload()
        elif self._role:
            _cluster().serve(self.oracle, self._role, folder)
        else:
            super().search(*args, **kwargs)
            self._raise_fatal_error()

    def run_trial(self, trial, *args, **kwargs):
        """Builds and trains a trial's network; returns the metrics of the last epoch."""
        keras.backend.clear_session()  # outside the scope, which it would end
        with self._strategy.scope() if self._strategy else contextlib.nullcontext():
            return self._run_trial(trial, *args, **kwargs)

    def _try_run_and_update_trial(self, trial, *args, **kwargs):
        # KerasTuner prints the traceback of each failed trial.
        try:
            with interrupts_kept():
                self._run_and_update_trial(trial, *args, **kwargs)
            trial.status = TrialStatus.COMPLETED
        except keras_tuner.errors.FatalError:
            raise
        except Exception as error:
            if is_full(error):
                raise  # it is no fault of the trial, which starts again with the search
            failed = isinstance(error, keras_tuner.errors.FailedTrialError)
            trial.status = TrialStatus.FAILED if failed else TrialStatus.INVALID
            trial.message = traceback.format_exc()

    def _run_and_update_trial(self, trial, *args, **kwargs):
        # KerasTuner reports the best epoch.
        metrics, name = self.run_trial(trial, *args, **kwargs), self.oracle.objective.name
        if name not in metrics:
            raise keras_tuner.errors.FatalValueError(
                f"The objective {name} is not a metric that `fit` returns: {', '.join(metrics)}"
            )
        epochs = trial.hyperparameters.values.get("tuner/epochs", self._epochs)
        self.oracle.update_trial(trial.trial_id, metrics, step=epochs)

    def _run_trial(self, trial, *args, callbacks=(), **kwargs):
        hp = trial.hyperparameters
        model = self.hypermodel.build(hp)
        if "tuner/trial_id" in hp.values:
            self._load_weights(model, hp.values["tuner/trial_id"])
        callbacks = copy.deepcopy(list(callbacks))
        self._configure_tensorboard_dir(callbacks, trial)
        history = self.hypermodel.fit(
            hp,
            model,
            *args,
            epochs=hp.values.get("tuner/epochs", self._epochs),
            initial_epoch=hp.values.get("tuner/initial_epoch", 0),
            callbacks=[*callbacks, EndAtInterrupt()],
            **kwargs,
        )
        metrics = {name: float(values[-1]) for name, values in history.history.items()}
        if {"val_accuracy", "val_shift_consistency"} <= set(metrics):
            metrics[ABOVE_FLOOR] = metrics["val_shift_consistency"]  # the oracle applies the floor
        self._save_weights(model, trial.trial_id)
        return metrics

    def load_model(self, trial):
        """The trained model of a trial, if it is among the best."""
        model = self.hypermodel.build(trial.hyperparameters)
        self._load_weights(model, trial.trial_id)
        return model

    def pre_create_trial(self):
        """Waits briefly before the next request to an idle oracle."""
        time.sleep(max(0.0, self._asked + _REQUEST_INTERVAL - time.monotonic()))
        self._asked = time.monotonic()

    def on_trial_end(self, trial):
        """Writes a failed trial's message for the chief, and ends the trial."""
        if trial.message:
            path = pathlib.Path(self.get_trial_dir(trial.trial_id)) / MESSAGE
            with replacing(path) as temporary:
                temporary.write_text(trial.message)
        super().on_trial_end(trial)
        self._asked = 0.0
        self._raise_fatal_error()

    def save(self):
        """Saves the oracle and the tuner atomically; a worker saves nothing."""
        if not self._has_chief:
            self.oracle.save()
            write_json(self._get_tuner_fname(), self.get_state())

    @property
    def _has_chief(self):
        return self._role is not None and not self._role.is_chief

    def _check_chief(self, folder):
        chief = self._role.target
        complaint = f"The chief at {chief} runs another search in {folder}"
        if not _is_recorded(folder, self._identity, complaint):
            raise FileNotFoundError(
                f"{folder} is not the folder of the chief at {chief}: it has no {FILE_NAME}. All "
                "processes must see the same folder, though its path may differ."
            )

    def _get_tuner_fname(self):
        # The same file with and without workers; a worker reloads nothing.
        name = self.tuner_id if self._has_chief else "tuner"
        return str(pathlib.Path(self.project_dir) / f"{name}.json")

    def _raise_fatal_error(self):
        fatal_error = None if self._has_chief else self.oracle.fatal_error
        if fatal_error is not None:
            raise fatal_error

    def _weights_of(self, trial_id):
        return pathlib.Path(self.get_trial_dir(trial_id)) / WEIGHTS

    def _save_weights(self, model, trial_id):
        content = weights_in_memory(_network_of(model))
        write_bytes(self._weights_of(trial_id), content.getbuffer())

    def _load_weights(self, model, trial_id):
        _network_of(model).load_weights(self._weights_of(trial_id))


def _cluster():
    # Imported late: only a search in several processes needs gRPC.
    from keras_gappos.tuning.resumable import chief as cluster

    return cluster


def _is_recorded(folder, identity, complaint):
    """Whether a folder has this search; raises a `ValueError` for another search."""
    path = folder / FILE_NAME
    if not path.exists():
        return False
    check_same_run(json.loads(path.read_text()), identity, complaint)
    return True


def _network_of(model):
    """The network inside a model, without an optimizer."""
    network = model.model if isinstance(model, PreparedModel) else model
    return keras.Model(network.inputs, network.outputs)
