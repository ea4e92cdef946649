"""Ranks the trials of a search by its rows."""

from __future__ import annotations

from keras_gappos.tuning.objective import ABOVE_FLOOR, best_first, score_above_floor


def rank_trials(rows: list[dict], objective: str, tolerance: float) -> list[dict]:
    """The completed trials, best first; of equally good ones, the earlier comes first.

    Args:
        rows: the search's rows.
        objective: one of `keras_gappos.tuning.objective.OBJECTIVES`.
        tolerance: how far below the best accuracy the floor is, in percentage points.
    """
    completed = [row for row in rows if row["status"] == "COMPLETED"]
    scores = _scores(completed, objective, tolerance)
    return [completed[i] for i in best_first(scores, [row["trial"] for row in completed])]


def accuracy_floor(rows: list[dict], objective: str, tolerance: float) -> float | None:
    """The accuracy in percent that the best trial must have; `None` if there is no floor.

    Args:
        rows, objective, tolerance: as in `rank_trials`.
    """
    accuracies = [row["val_accuracy"] for row in rows if row["status"] == "COMPLETED"]
    return max(accuracies) - tolerance if objective == ABOVE_FLOOR and accuracies else None


def below_floor(ranked: list[dict], objective: str, tolerance: float) -> set[int]:
    """Numbers of the completed trials whose accuracy is below the floor."""
    scores = _scores(ranked, objective, tolerance)
    return {row["trial"] for row, score in zip(ranked, scores) if score < 0}


def trained_further(ranked: list[dict]) -> set[int]:
    """Numbers of the trials whose network another completed trial has trained on."""
    return {row["continues"] for row in ranked} - {None}


def without_stages(ranked: list[dict]) -> list[dict]:
    """The trials of a table: without those that were trained further, except the best.

    The best trial is the search's result even if more training made it worse.

    Args:
        ranked: what `rank_trials` returns.
    """
    stages = trained_further(ranked)
    return [row for rank, row in enumerate(ranked) if rank == 0 or row["trial"] not in stages]


def _scores(rows, objective, tolerance):
    accuracies, consistencies = (
        [row[name] / 100 for row in rows] for name in ("val_accuracy", "val_shift_consistency")
    )
    if objective == ABOVE_FLOOR:
        return score_above_floor(accuracies, consistencies, tolerance)
    return accuracies if objective == "val_accuracy" else consistencies
