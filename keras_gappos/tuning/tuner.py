"""Makes the tuners of a search."""

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
    """Makes a tuner whose `search` resumes after a kill, and can share its trials among processes.

    Unlike KerasTuner's own, it can be killed at any moment, a trial that diverges is recorded as
    failed without ending the search, and Hyperband continues from a trial's last epoch. Where
    `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT` are set, this process
    is the search's chief or a worker; see `keras_gappos.tuning.resumable.chief`.

    Args:
        kind: `"random"`, `"hyperband"` or `"bayesian"`.
        hypermodel: a `keras_tuner.HyperModel`, such as `AugShiftHyperModel`.
        objective: what is best: `"val_accuracy"`; `"val_shift_consistency"`; or
            `"consistency_above_floor"`, the most consistent of those whose accuracy is within
            `tolerance` of the best one's.
        directory: folder of the search.
        trials: number of trials; `None` is 20, or as many as Hyperband makes.
        epochs: passes over the data of a trial; for Hyperband, of its longest ones.
        tolerance: in percentage points.
        factor: Hyperband trains 1 in `factor` trials `factor` times longer; at least 2.
        seed: integer, at least 0, of the choices.
        listener: function of the oracle, called when a trial has begun or ended; or `None`.
        strategy: a distribution strategy with a `scope`, in which models are built and trained.
        details: dictionary, for JSON, of what else identifies the search, such as the number of
            images. A search with other details must have another directory.

    Returns:
        A `keras_tuner.Tuner`. After a worker's `search`, too, it has the best settings and models
        of the whole search.

    Raises:
        ValueError: for an argument out of range, or a directory of another search; a worker's
            `search` compares with its chief's.

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
        "seed": integer("seed", seed, 0) + 1,  # KerasTuner takes 0 for none
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
        "objective": objective,
        "tolerance": tolerance,
        "trials": trials,
        "epochs": epochs,
        "factor": factor,
        "seed": seed,
        **getattr(hypermodel, "identity", {}),
        **(details or {}),
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it says what it reloads
        return ResumableTuner(oracle, hypermodel, epochs, directory, strategy, identity)


def count_epochs(
    kind: str, trials: int | None = None, epochs: int = 10, factor: int = 3
) -> list[int]:
    """The epochs that each trial of a search trains, in the order of the trials.

    Args:
        kind, trials, epochs, factor: as in `make_tuner`.

    Returns:
        A list of integers; for Hyperband those after a trial's initial epoch.
    """
    if kind != "hyperband":
        return [epochs] * (trials or _DEFAULT_TRIALS)
    return hyperband_epochs(epochs, factor)[:trials]
