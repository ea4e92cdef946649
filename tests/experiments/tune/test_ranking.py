import io

import numpy as np
import pytest
from rich.console import Console

from keras_gappos.experiments.tune.figure import pareto_front, trained_further
from keras_gappos.experiments.tune.report import (
    accuracy_floor,
    below_floor,
    make_table,
    rank_trials,
    without_stages,
)
from tests.experiments.tune.test_report import OBJECTIVES, failed, row

SCORES = [(70.0, 95.0), (80.0, 81.0), (79.5, 85.0), (79.0, 85.0), (78.9, 99.0)]


@pytest.mark.parametrize(
    ("objective", "tolerance", "order"),
    [
        ("val_accuracy", 1.0, [1, 2, 3, 4, 0]),
        ("val_shift_consistency", 1.0, [4, 0, 2, 3, 1]),  # of equals, the more accurate one
        ("consistency_above_floor", 1.0, [2, 3, 1, 4, 0]),  # a floor of 79, which trial 3 meets
        ("consistency_above_floor", 0.0, [1, 2, 3, 4, 0]),
        ("consistency_above_floor", 20.0, [4, 0, 2, 3, 1]),
    ],
)
def test_trials_are_ranked_by_the_objective(objective, tolerance, order):
    rows = [row(trial, *scores) for trial, scores in enumerate(SCORES)]
    ranked = rank_trials([*rows, failed(5)], objective, tolerance)
    assert [row["trial"] for row in ranked] == order


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_trial_that_predicts_one_class_is_last_marked_and_sets_no_floor(objective):
    one_class = row(0, 82.0, 100.0, num_predicted_classes=1)
    rows = [one_class, row(1, 80.0, 70.0), row(2, 70.0, 60.0, num_predicted_classes=10)]
    ranked = rank_trials(rows, objective, 5.0)
    assert [row["trial"] for row in ranked] == [1, 2, 0]
    assert accuracy_floor(ranked, "consistency_above_floor", 5.0) == 75.0
    assert below_floor(ranked, "consistency_above_floor", 5.0) == {0, 2}
    assert one_class not in pareto_front(ranked)
    table = io.StringIO()
    Console(file=table, width=80).print(make_table(rows, objective, 5.0))
    assert table.getvalue().count("(one class)") == 1 and "100.00 (one class)" in table.getvalue()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_of_equal_trials_the_one_that_was_started_first_is_better(objective):
    ranked = rank_trials([row(2), row(0), row(1)], objective, 1.0)
    assert [row["trial"] for row in ranked] == [0, 1, 2]


def test_the_floor_is_below_the_best_accuracy_and_only_for_the_objective_that_has_one():
    rows = [row(0, 70.0), row(1, 75.5), failed(2)]
    ranked = rank_trials(rows, "consistency_above_floor", 1.5)
    assert accuracy_floor(ranked, "consistency_above_floor", 1.5) == 74.0
    assert accuracy_floor(ranked, "val_accuracy", 1.5) is None
    assert accuracy_floor([], "consistency_above_floor", 1.5) is None


@pytest.mark.parametrize(("best", "tolerance"), [(0.6915, 1.0), (0.7005, 0.3), (0.9, 0.1)])
def test_a_trial_exactly_on_the_floor_meets_it(best, tolerance):
    exact = [best, best - tolerance / 100, best - tolerance / 100 - 0.0005]  # of 2,000 images
    accuracies = [round(100 * float(np.float32(value)), 4) for value in exact]
    rows = [row(trial, accuracy, 80.0 + trial) for trial, accuracy in enumerate(accuracies)]
    assert below_floor(rows, "consistency_above_floor", tolerance) == {2}
    ranked = rank_trials(rows, "consistency_above_floor", tolerance)
    assert [trial["trial"] for trial in ranked] == [1, 0, 2]


def test_stages_of_other_trials_are_left_out_unless_the_last_stage_failed():
    rows = [row(0, 60.0), row(1, 50.0, continues=0), row(2, 90.0, continues=1), row(3, 40.0)]
    ranked = rank_trials([*rows, failed(4, continues=3)], "val_accuracy", 1.0)
    assert trained_further(ranked) == {0, 1}
    assert [row["trial"] for row in without_stages(ranked)] == [2, 3]


def test_the_best_trial_is_listed_even_if_it_became_worse_when_trained_further():
    rows = [row(0, 60.0), row(1, 90.0), row(2, 80.0, continues=1)]
    ranked = rank_trials(rows, "val_accuracy", 1.0)
    assert [row["trial"] for row in without_stages(ranked)] == [1, 2, 0]
