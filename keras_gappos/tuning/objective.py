"""The objectives of a search, and how trials are ranked by them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ABOVE_FLOOR = "consistency_above_floor"
OBJECTIVES = ("val_accuracy", "val_shift_consistency", ABOVE_FLOOR)
TUNERS = ("random", "hyperband", "bayesian")
_DIGITS = 6  # decimals compared; the scores are float32


def score_above_floor(
    accuracies: Sequence[float], consistencies: Sequence[float], tolerance: float
) -> np.ndarray:
    """Scores for the objective "consistency_above_floor".

    Accuracies at most `tolerance` below the best one score their consistency. All others score
    lower, by accuracy.

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
    """Indices of the scores, best first.

    Args:
        scores: numbers in [-1, 1].
        order: on a tie, the score with the smaller number comes first.
    """
    keys = [(-round(float(score), _DIGITS), number) for score, number in zip(scores, order)]
    return sorted(range(len(keys)), key=keys.__getitem__)
