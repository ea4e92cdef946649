"""Which trials of a hyperparameter search over AugShift trainings are the best, by its rows."""

_ROUNDING = 1e-4  # percentage points, to which the rows give accuracies


def rank_trials(rows, objective, tolerance):
    """The completed trials, best first.

    Args:
        rows: the search's rows.
        objective: `"val_accuracy"`; `"val_shift_consistency"`; or `"consistency_above_floor"`, for
            which those whose accuracy is at least `accuracy_floor` come first, by consistency, and
            then the others, by accuracy.
        tolerance: how far below the best accuracy the floor is, in percentage points.

    Returns:
        A list of rows; of equally good ones, the one that was started first comes first.
    """
    completed = [row for row in rows if row["status"] == "COMPLETED"]
    floor = accuracy_floor(completed, objective, tolerance)

    def merit(row):
        accuracy, consistency = row["val_accuracy"], row["val_shift_consistency"]
        if objective == "val_accuracy":
            return accuracy, consistency
        above = meets_floor(row, floor)
        return (above, consistency, accuracy) if above else (above, accuracy, consistency)

    completed.sort(key=lambda row: row["trial"])
    return sorted(completed, key=merit, reverse=True)  # which leaves equal ones in their order


def accuracy_floor(rows, objective, tolerance):
    """The accuracy in percent that the best trial must have; `None` if any will do.

    Args:
        rows, objective, tolerance: as in `rank_trials`.
    """
    accuracies = [row["val_accuracy"] for row in rows if row["status"] == "COMPLETED"]
    if objective != "consistency_above_floor" or not accuracies:
        return None
    return max(accuracies) - tolerance


def meets_floor(row, floor):
    """Whether a completed trial is accurate enough; one that is exactly on the floor is."""
    return floor is None or row["val_accuracy"] >= floor - _ROUNDING


def trained_further(ranked):
    """Numbers of the trials whose network another completed trial has trained on.

    Args:
        ranked: the completed trials.
    """
    return {row["continues"] for row in ranked} - {None}


def without_stages(ranked):
    """The trials that are worth a line: without those that were trained further, but for the best.

    The best one is what the search has found, even if it became worse when it was trained further.

    Args:
        ranked: what `rank_trials` gives.
    """
    stages = trained_further(ranked)
    return [row for rank, row in enumerate(ranked) if rank == 0 or row["trial"] not in stages]
