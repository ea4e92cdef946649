import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keras_gappos.tuning.objective import (
    OBJECTIVES,
    best_first,
    objective_scores,
    score_above_floor,
)

PERCENT = st.integers(0, 100).map(float)


def test_above_the_floor_consistency_decides_and_below_it_accuracy():
    scores = score_above_floor([80.0, 79.5, 78.5, 60.0], [50.0, 70.0, 90.0, 99.0], tolerance=1.0)
    assert list(np.argsort(-scores)) == [1, 0, 2, 3]
    assert list(scores) == [50, 70, -0.5, -19]


@given(st.integers(20, 2000))
def test_an_accuracy_just_on_the_floor_is_not_below_it_for_being_rounded(right):
    best, floor = (100 * float(np.float32(n / 2000)) for n in (right, right - 20))
    assert list(score_above_floor([best, floor], [50.0, 60.0], tolerance=1.0)) == [50, 60]


@given(st.lists(st.tuples(PERCENT, PERCENT), min_size=1), st.integers(0, 50))
def test_the_best_score_is_the_most_consistent_one_that_is_accurate_enough(pairs, tolerance):
    accuracies, consistencies = zip(*pairs)
    best = int(np.argmax(score_above_floor(accuracies, consistencies, tolerance)))
    floor = max(accuracies) - tolerance - 1e-4
    assert accuracies[best] >= floor
    assert consistencies[best] == max(c for a, c in pairs if a >= floor)


@given(
    st.lists(st.tuples(PERCENT, PERCENT, st.booleans()), min_size=1),
    st.integers(0, 50),
    st.sampled_from(OBJECTIVES),
)
def test_a_collapsed_network_is_never_first_and_changes_no_other_score(rows, tolerance, objective):
    scores = objective_scores(
        objective, *zip(*[r[:2] for r in rows]), tolerance, [r[2] for r in rows]
    )
    sound = [row for row in rows if not row[2]]
    if not sound:
        assert (scores <= -100).all()
        return
    assert not rows[best_first(scores, range(len(rows)))[0]][2]
    expected = objective_scores(objective, *zip(*[row[:2] for row in sound]), tolerance)
    assert [score for row, score in zip(rows, scores) if not row[2]] == list(expected)


def test_of_equal_scores_the_smaller_number_is_better():
    assert best_first([0.5, 0.7, 0.7, 0.9], order=[0, 2, 1, 3]) == [3, 2, 1, 0]
    noise = float(np.float32(0.7)) - 0.7  # scores are float32
    assert noise != 0 and best_first([0.7 + noise, 0.7, 0.7 - noise], order=[2, 1, 0]) == [2, 1, 0]
