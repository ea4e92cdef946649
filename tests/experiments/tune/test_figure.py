import numpy as np
import pytest

from keras_gappos.experiments.tune.figure import draw, pareto_front
from keras_gappos.experiments.tune.report import accuracy_floor, below_floor, rank_trials
from tests.experiments.engine.figure_checks import check_figure
from tests.experiments.tune.test_report import OBJECTIVES, SETTINGS, content, random_rows, row

FLOOR = "consistency_above_floor"


def drawn(rows, names, objective="val_accuracy", tolerance=1.0):
    ranked = rank_trials(rows, objective, tolerance)
    floor, below = (find(ranked, objective, tolerance) for find in (accuracy_floor, below_floor))
    return draw(ranked, list(names), floor, below, content([])["settings"])


def places(collection):
    return np.asarray(collection.get_offsets())


def test_no_trial_dominates_the_pareto_front():
    scores = [(70.0, 90.0), (80.0, 80.0), (75.0, 85.0), (75.0, 70.0), (69.0, 90.0), (80.0, 79.0)]
    rows = [row(trial, *score) for trial, score in enumerate(scores)]
    assert [row["trial"] for row in pareto_front(rows)] == [0, 2, 1]
    assert [row["trial"] for row in pareto_front([row(3), row(4)])] in ([3], [4])


def test_the_chosen_trial_and_the_front_are_in_the_first_panel():
    rows = [row(0, 60.0, 90.0), row(1, 80.0, 70.0)]
    (ax,) = drawn(rows, []).axes
    front, star = ax.lines
    assert (star.get_marker(), star.get_xdata()[0], star.get_ydata()[0]) == ("*", 80.0, 70.0)
    assert list(zip(*front.get_data())) == [(60.0, 90.0), (80.0, 70.0)]


def test_each_setting_has_a_panel_of_both_scores_with_the_chosen_trial_marked():
    rows = [
        row(0, 60.0, 90.0, settings={"learning_rate": 0.01, "max_shift": 2}),
        row(1, 80.0, 70.0, settings={"learning_rate": 0.1, "max_shift": 5}),
    ]
    _, rate, shift = drawn(rows, ["learning_rate", "max_shift"]).axes[:3]
    assert (rate.get_xscale(), shift.get_xscale()) == ("log", "linear")
    assert (rate.get_xlabel(), shift.get_xlabel()) == ("learning rate", "max shift (px)")
    accuracies, consistencies = map(places, rate.collections)
    np.testing.assert_allclose(accuracies, [[0.1, 80], [0.01, 60]])  # the best one first
    np.testing.assert_allclose(consistencies, [[0.1, 70], [0.01, 90]])
    stars = [(line.get_xdata()[0], line.get_ydata()[0]) for line in shift.lines]
    assert stars == [(5, 80.0), (5, 70.0)]


@pytest.mark.parametrize(
    ("name", "values", "texts"),
    [
        ("stem", ["imagenet", "cifar", "cifar"], ["cifar", "imagenet"]),
        ("flip", [True, False, True], ["no", "yes"]),
        ("width", [64, 16, 32], ["16", "32", "64"]),
        ("fill_mode", ["wrap", None], ["-", "wrap"]),
    ],
)
def test_choices_stand_at_even_distances(name, values, texts):
    rows = [row(trial, settings={name: value}) for trial, value in enumerate(values)]
    ax = drawn(rows, [name]).axes[1]
    assert [label.get_text() for label in ax.get_xticklabels()] == texts
    assert list(ax.get_xticks()) == list(range(len(texts)))
    shown = [texts[round(x)] for x, _ in places(ax.collections[0])]
    assert shown == [{True: "yes", False: "no", None: "-"}.get(v, str(v)) for v in values]


def test_a_setting_of_zero_has_a_place_on_a_logarithmic_axis():
    rows = [row(n, settings={"consistency_weight": w}) for n, w in enumerate([0.0, 1.0, 100.0])]
    ax = drawn(rows, ["consistency_weight"]).axes[1]
    assert ax.get_xscale() == "symlog"
    assert ax.transData.transform([(0.0, 50.0)])[0, 0] >= ax.bbox.x0


def test_trials_below_the_floor_are_faded_and_those_that_were_trained_further_are_open():
    rows = [
        row(0, 80.0, 90.0),
        row(1, 79.5, 80.0),
        row(2, 60.0, 95.0),
        row(3, 79.5, 70.0, continues=1, epochs=9, initial_epoch=3),
    ]
    figure = drawn(rows, ["learning_rate"], FLOOR)
    points = figure.axes[1].collections[0]  # trials 0, 1, 3, 2
    assert list(points.get_alpha() < 1) == [False, False, False, True]
    is_open = [tuple(color[:3]) == (1, 1, 1) for color in points.get_facecolors()]
    assert is_open == [False, True, False, False]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"best: trial 0", "accuracy floor: 79.00 %", "below the floor"} < set(texts)
    assert "continued by another trial" in texts


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    ("count", "names"),
    [(1, ()), (2, ("flip",)), (60, tuple(SETTINGS)), (9, ("consistency_weight", "max_shift"))],
)
def test_the_figure_is_drawn_for_few_and_many_trials_and_settings(count, names, objective):
    figure = drawn(random_rows(count, names), names, objective, tolerance=10.0)
    check_figure(figure)
    panels = [ax for ax in figure.axes if ax.get_visible()]
    assert len(panels) == 1 + len(names)
    assert {len(places(points)) for ax in panels for points in ax.collections} == {count}
    assert max(figure.get_size_inches()) < 20
