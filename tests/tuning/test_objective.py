import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keras_gappos.tuning.objective import best_first, score_above_floor

PERCENT = st.integers(0, 100).map(lambda value: value / 100)


def test_above_the_floor_consistency_decides_and_below_it_accuracy():
    scores = score_above_floor([0.80, 0.795, 0.785, 0.60], [0.5, 0.7, 0.9, 0.99], tolerance=1.0)
    assert list(np.argsort(-scores)) == [1, 0, 2, 3]
    assert list(scores[:2]) == [0.5, 0.7]
    assert (scores[2:] < 0).all()


@given(st.integers(20, 2000))
def test_an_accuracy_just_on_the_floor_is_not_below_it_for_being_rounded(right):
    best, floor = (float(np.float32(n / 2000)) for n in (right, right - 20))
    assert list(score_above_floor([best, floor], [0.5, 0.6], tolerance=1.0)) == [0.5, 0.6]


@given(st.lists(st.tuples(PERCENT, PERCENT), min_size=1), st.integers(0, 50))
def test_the_best_score_is_the_most_consistent_one_that_is_accurate_enough(pairs, tolerance):
    accuracies, consistencies = zip(*pairs)
    best = int(np.argmax(score_above_floor(accuracies, consistencies, tolerance)))
    floor = max(accuracies) - tolerance / 100 - 1e-6
    assert accuracies[best] >= floor
    assert consistencies[best] == max(c for a, c in pairs if a >= floor)


def test_of_equal_scores_the_smaller_number_is_better():
    assert best_first([0.5, 0.7, 0.7, 0.9], order=[0, 2, 1, 3]) == [3, 2, 1, 0]
    noise = float(np.float32(0.7)) - 0.7  # scores are float32
    assert noise != 0 and best_first([0.7 + noise, 0.7, 0.7 - noise], order=[2, 1, 0]) == [2, 1, 0]
