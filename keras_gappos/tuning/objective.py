"""The objective "consistency_above_floor": consistent, and accurate enough."""

import numpy as np

_ROUNDING = 1e-6  # of accuracies, which are float32


def rank_above_floor(accuracies, consistencies, tolerance):
    """Scores whose order is: consistent and accurate enough first.

    Networks whose accuracy is at most `tolerance` below the best one's are compared by consistency;
    each other one is below all of these, the lower the less accurate it is.

    Args:
        accuracies: array `(n,)`, in [0, 1].
        consistencies: array `(n,)`, in [0, 1].
        tolerance: in percentage points, at least 0.

    Returns:
        Array `(n,)`: the consistency, or a negative number.
    """
    accuracies = np.asarray(accuracies, "float64")
    floor = accuracies.max(initial=0.0) - tolerance / 100
    below = floor - accuracies
    return np.where(below <= _ROUNDING, np.asarray(consistencies, "float64"), -below)
