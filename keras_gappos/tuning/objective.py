"""What a search looks for: accurate enough, then most consistent, then the earlier trial."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ABOVE_FLOOR = "consistency_above_floor"
OBJECTIVES = ("val_accuracy", "val_shift_consistency", ABOVE_FLOOR)
TUNERS = ("random", "hyperband", "bayesian")
_DIGITS = 6  # to which accuracies and consistencies, which are float32, are compared


def score_above_floor(
    accuracies: Sequence[float], consistencies: Sequence[float], tolerance: float
) -> np.ndarray:
    """Scores for the objective "consistency_above_floor".

    Trainings whose accuracy is at most `tolerance` below the best one are ordered by consistency.
    All others score lower, in the order of their accuracies.

    Args:
        accuracies: array `(n,)`, in [0, 1].
        consistencies: array `(n,)`, in [0, 1].
        tolerance: in percentage points, at least 0.

    Returns:
        Array `(n,)`: the consistency, or a negative number below the floor.
    """
    measured = np.asarray(accuracies, "float64")
    floor = measured.max(initial=0.0) - tolerance / 100
    below = floor - measured
    return np.where(below <= 10**-_DIGITS, np.asarray(consistencies, "float64"), -below)


def objective_scores(
    objective: str, accuracies: Sequence[float], consistencies: Sequence[float], tolerance: float
) -> Sequence[float] | np.ndarray:
    """What an objective makes of accuracies and consistencies; more is better.

    Args:
        objective: one of `OBJECTIVES`.
        accuracies, consistencies, tolerance: as in `score_above_floor`.
    """
    if objective == ABOVE_FLOOR:
        return score_above_floor(accuracies, consistencies, tolerance)
    return accuracies if objective == "val_accuracy" else consistencies


def best_first(scores: Sequence[float], order: Sequence[float]) -> list[int]:
    """Indices of the trainings, best first.

    Args:
        scores: one for each training, in [-1, 1].
        order: numbers that decide between equal scores: the smaller one is better.
    """
    keys = [(-round(float(score), _DIGITS), number) for score, number in zip(scores, order)]
    return sorted(range(len(keys)), key=keys.__getitem__)
