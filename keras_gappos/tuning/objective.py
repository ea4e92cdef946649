"""The objectives of a search, and how trials are ranked by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

ABOVE_FLOOR = "consistency_above_floor"
OBJECTIVES = ("val_accuracy", "val_shift_consistency", ABOVE_FLOOR)
TUNERS = ("random", "hyperband", "bayesian")
_DIGITS = 4  # decimals of a score, in percent; accuracies are float32
_WORST = -200.0  # what the worst of the collapsed networks scores


def is_collapsed(row: dict[str, Any]) -> bool:
    """Whether a row is of a network that predicts one class; one without the entry is not."""
    return row.get("num_predicted_classes") == 1


def collapse_mark(row: dict[str, Any]) -> str:
    """What tables add to the row of a network that has collapsed, otherwise nothing."""
    return " (one class)" if is_collapsed(row) else ""


def score_above_floor(
    accuracies: Sequence[float],
    consistencies: Sequence[float],
    tolerance: float,
    collapsed: Sequence[bool] | None = None,
) -> np.ndarray:
    """Scores for the objective "consistency_above_floor".

    Accuracies at most `tolerance` below the best one score their consistency. All others score
    minus the points that they are below that floor. Networks that have collapsed to one class score
    lowest, and their accuracy sets no floor, unless all have.

    Args:
        accuracies: array `(n,)`, in percent.
        consistencies: array `(n,)`, in percent.
        tolerance: in percentage points, at least 0.
        collapsed: booleans `(n,)`, `None` if no network has.

    Returns:
        Array `(n,)`: the consistency, or a number in [-100, 0) below the floor, in [-200, -100] of
        a collapsed network.
    """
    measured = np.asarray(accuracies, "float64")
    fallen = np.zeros(len(measured), bool) if collapsed is None else np.asarray(collapsed, bool)
    counting = measured if fallen.all() else measured[~fallen]
    below = counting.max(initial=0.0) - tolerance - measured
    scores = np.where(below <= 10**-_DIGITS, np.asarray(consistencies, "float64"), -below)
    return np.where(fallen, _WORST + measured, scores).round(_DIGITS)


def objective_scores(
    objective: str,
    accuracies: Sequence[float],
    consistencies: Sequence[float],
    tolerance: float,
    collapsed: Sequence[bool] | None = None,
) -> np.ndarray:
    """What an objective makes of accuracies and consistencies, in percent; more is better.

    Args:
        objective: one of `OBJECTIVES`.
        accuracies, consistencies, tolerance, collapsed: as in `score_above_floor`.
    """
    if objective == ABOVE_FLOOR:
        return score_above_floor(accuracies, consistencies, tolerance, collapsed)
    scores = np.asarray(accuracies if objective == "val_accuracy" else consistencies, "float64")
    if collapsed is not None:
        scores = np.where(collapsed, _WORST + scores, scores)
    return scores.round(_DIGITS)


def best_first(scores: Sequence[float], order: Sequence[float]) -> list[int]:
    """Indices of the scores, best first.

    Args:
        scores: what `objective_scores` returns.
        order: on a tie, the score with the smaller number comes first.
    """
    keys = [(-round(float(score), _DIGITS), number) for score, number in zip(scores, order)]
    return sorted(range(len(keys)), key=keys.__getitem__)
