"""Creates tuners whose searches can resume."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable

import keras_tuner

from keras_gappos.arguments import integer, one_of
from keras_gappos.tuning.objective import OBJECTIVES, TUNERS
from keras_gappos.tuning.resumable.hyperband import HyperbandOracle, hyperband_epochs
from keras_gappos.tuning.resumable.oracles import BayesianOracle, RandomOracle, ResumableOracle
from keras_gappos.tuning.resumable.tuner import ResumableTuner

_DEFAULT_TRIALS = 20


def make_tuner(
    kind: str,
    hypermodel: keras_tuner.HyperModel,
    objective: str = "val_accuracy",
    directory: str | os.PathLike = "tuning",
    trials: int | None = None,
    epochs: int = 10,
    tolerance: float = 1.0,
    factor: int = 3,
    seed: int = 0,
    listener: Callable[[keras_tuner.Oracle], None] | None = None,
    strategy: object = None,
    details: dict | None = None,
) -> keras_tuner.Tuner:
    """Creates a tuner whose `search` resumes after a kill and can use several processes.

    Unlike KerasTuner's tuners, it can be killed at any moment, a trial that diverges fails without
    ending the search, and Hyperband continues from a trial's last epoch. If `KERASTUNER_TUNER_ID`,
    `KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT` are set, this process is the chief or a
    worker; see `keras_gappos.tuning.resumable.chief`.

    Args:
        kind: `"random"`, `"hyperband"` or `"bayesian"`.
        hypermodel: a `keras_tuner.HyperModel`, such as `AugShiftHyperModel`.
        objective: what to maximize: `"val_accuracy"`, `"val_shift_consistency"`, or
            `"consistency_above_floor"`: the consistency of the trials whose accuracy is within
            `tolerance` of the best. Scores are in percent. In the last one, a trial below the floor
            scores minus the points that it is below it: -0.5 is half a point too inaccurate. A
            network that has collapsed to one class scores -100 or less.
        directory: folder of the search.
        trials: number of trials; `None` is 20, or Hyperband's own number.
        epochs: passes over the data per trial; for Hyperband, of the longest trials.
        tolerance: in percentage points.
        factor: Hyperband trains 1 in `factor` trials `factor` times longer; at least 2.
        seed: integer, at least 0, for the choices.
        listener: function of the oracle, called when a trial starts or ends; or `None`.
        strategy: a distribution strategy with a `scope` to build and train models in.
        details: JSON-compatible dictionary of what else identifies the search, such as the number
            of images. A search with different details needs another directory.

    Returns:
        A `keras_tuner.Tuner`. After `search`, it has the best settings and models of the whole
        search, in a worker, too.

    Raises:
        ValueError: for an argument out of range, or the directory of another search. A worker
            compares with its chief's in `search`.

    Example: see `AugShiftHyperModel`.
    """
    one_of("kind", kind, TUNERS)
    one_of("objective", objective, OBJECTIVES)
    epochs, factor = integer("epochs", epochs, 1), integer("factor", factor, 2)
    trials = trials if trials is None else integer("trials", trials, 1)
    if not tolerance >= 0:
        raise ValueError(f"`tolerance` must be at least 0. Received: tolerance={tolerance}")
    arguments = {
        "objective": keras_tuner.Objective(objective, "max"),
        "seed": integer("seed", seed, 0) + 1,  # KerasTuner treats 0 as no seed
    }
    if kind == "hyperband":
        oracle: ResumableOracle = HyperbandOracle(max_epochs=epochs, factor=factor, **arguments)
        oracle.max_trials = trials
    else:
        Oracle = {"random": RandomOracle, "bayesian": BayesianOracle}[kind]
        oracle = Oracle(max_trials=trials or _DEFAULT_TRIALS, **arguments)
    oracle.tolerance, oracle.listener, oracle.verbose = tolerance, listener, 0
    identity = {
        "tuner": kind,
        "scores": "percent",  # until 0.1.0 they were in [0, 1]
        "objective": objective,
        "tolerance": tolerance,
        "trials": trials,
        "epochs": epochs,
        "factor": factor,
        "seed": seed,
        **getattr(hypermodel, "identity", {}),
        **(details or {}),
    }
    with contextlib.redirect_stdout(io.StringIO()):  # hides "Reloading Tuner"
        return ResumableTuner(oracle, hypermodel, epochs, directory, strategy, identity)


def count_epochs(
    kind: str, trials: int | None = None, epochs: int = 10, factor: int = 3
) -> list[int]:
    """The number of epochs that each trial of a search trains, in order.

    Args:
        kind, trials, epochs, factor: as in `make_tuner`.

    Returns:
        A list of integers; for Hyperband, without the epochs before a trial's initial epoch.
    """
    if kind != "hyperband":
        return [epochs] * (trials or _DEFAULT_TRIALS)
    return hyperband_epochs(epochs, factor)[:trials]
