"""KerasTuner's ways to choose settings, made by one function."""

import contextlib
import io

import keras_tuner

from keras_gappos.arguments import integer, one_of
from keras_gappos.tuning.objective import OBJECTIVES, TUNERS
from keras_gappos.tuning.resumable.hyperband import HyperbandOracle, hyperband_epochs
from keras_gappos.tuning.resumable.oracles import BayesianOracle, RandomOracle
from keras_gappos.tuning.resumable.tuner import ResumableTuner

_DEFAULT_TRIALS = 20


def make_tuner(
    kind,
    hypermodel,
    objective="val_accuracy",
    directory="tuning",
    trials=None,
    epochs=10,
    tolerance=1.0,
    factor=3,
    seed=0,
    listener=None,
    strategy=None,
    details=None,
):
    """Makes a tuner whose `search` goes on where it was, and shares its trials among processes.

    Unlike KerasTuner's own, it can be killed at any moment and made again, a trial that diverges is
    recorded as failed and the search goes on, and Hyperband trains on from a trial's last epoch.
    Where `KERASTUNER_TUNER_ID`, `KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT` are set, its
    `search` is a chief's or a worker's; see `keras_gappos.tuning.resumable.chief`.

    Args:
        kind: `"random"`, `"hyperband"` or `"bayesian"`.
        hypermodel: a `keras_tuner.HyperModel`, such as `AugShiftHyperModel`.
        objective: what is best: `"val_accuracy"`; `"val_shift_consistency"`; or
            `"consistency_above_floor"`, the most consistent of those whose accuracy is within
            `tolerance` of the best one's.
        directory: folder of the search.
        trials: number of trials; `None` is 20, and for Hyperband as many as it makes.
        epochs: passes over the data of a trial; for Hyperband, of its longest ones.
        tolerance: in percentage points.
        factor: Hyperband trains one in so many trials so many times longer, at least 2.
        seed: integer, at least 0, of the choices.
        listener: function of the oracle, called when a trial has begun or ended; or `None`.
        strategy: what a model is built and trained in, with a `scope`, or `None`.
        details: dictionary, for JSON, of what else makes the search what it is, such as how many
            images it has: a search with other ones does not go on in this directory.

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
        oracle = HyperbandOracle(max_epochs=epochs, factor=factor, **arguments)
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


def count_epochs(kind, trials=None, epochs=10, factor=3):
    """The epochs that each trial of a search trains, in the order in which they are made.

    Args:
        kind, trials, epochs, factor: as in `make_tuner`.

    Returns:
        A list of integers; for Hyperband those after a trial's initial epoch.
    """
    if kind != "hyperband":
        return [epochs] * (trials or _DEFAULT_TRIALS)
    return hyperband_epochs(epochs, factor)[:trials]
