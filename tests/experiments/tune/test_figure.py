import numpy as np
import pytest

from keras_gappos.experiments.tune.axes import axis_of
from keras_gappos.experiments.tune.figure import draw, pareto_front
from keras_gappos.experiments.tune.ranking import rank_trials
from tests.experiments.tune.test_report import OBJECTIVES, SETTINGS, random_rows, row

FLOOR = "consistency_above_floor"


def drawn(rows, names, objective="val_accuracy", floor=None):
    return draw(rank_trials(rows, objective, 1.0), list(names), objective, floor, "cifar10")


def lines_of(figure):
    """Heights of the lines of the trials, from the thin ones to the chosen one."""
    (ax,) = figure.subfigs[1].axes
    return [line for line in ax.lines if line.get_zorder() < 4]  # axes and ticks are above


def test_the_pareto_front_is_of_those_that_no_other_beats():
    scores = [(70.0, 90.0), (80.0, 80.0), (75.0, 85.0), (75.0, 70.0), (69.0, 90.0), (80.0, 79.0)]
    rows = [row(trial, *score) for trial, score in enumerate(scores)]
    assert [row["trial"] for row in pareto_front(rows)] == [0, 2, 1]
    assert [row["trial"] for row in pareto_front([row(3), row(4)])] in ([3], [4])


def test_the_chosen_trial_is_marked_and_the_front_is_a_line():
    rows = [row(0, 60.0, 90.0), row(1, 80.0, 70.0)]
    figure = drawn(rows, [])
    (ax,) = figure.axes
    star, front = ax.lines
    assert star.get_label() == "best: trial 1"
    assert not ax.texts  # which could cover a point
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (80.0, 70.0)
    assert list(zip(*front.get_data()))[1:3] == [(60.0, 90.0), (80.0, 70.0)]
    assert front.get_drawstyle() == "steps-pre"


def test_each_trial_is_a_line_through_its_settings_and_the_chosen_one_is_on_top():
    rows = [
        row(0, 60.0, settings={"learning_rate": 0.01, "stem": "canvas"}),
        row(1, 80.0, settings={"learning_rate": 1.0, "stem": "canvas"}),
        row(2, 70.0, settings={"learning_rate": 0.1, "stem": "imagenet"}),
    ]
    lines = lines_of(drawn(rows, ["learning_rate", "stem"]))
    heights = np.array([line.get_ydata() for line in lines])  # worst first
    np.testing.assert_allclose(heights, [[0, 0, 0], [0.5, 1, 0.5], [1, 0, 1]], atol=0.03)
    assert lines[2].get_linewidth() > lines[1].get_linewidth()
    assert lines[2].get_zorder() > lines[1].get_zorder()


def test_trials_below_the_floor_and_those_that_were_trained_on_are_thin():
    rows = [
        row(0, 80.0, 90.0),
        row(1, 79.5, 80.0),
        row(2, 60.0, 95.0),
        row(3, 79.5, 70.0, continues=1, epochs=9, initial_epoch=3),
    ]
    figure = drawn(rows, ["learning_rate"], FLOOR, 79.0)
    widths = [line.get_linewidth() for line in lines_of(figure)]  # trials 2, 3, 1, 0
    assert widths[0] == widths[2] < widths[1] < widths[3]
    texts = [text.get_text() for text in figure.subfigs[0].legends[0].get_texts()]
    assert {"3 epochs", "9 epochs", "accuracy floor: 79.00 %", "Pareto front"} < set(texts)
    assert "open: trained further as another trial" in texts
    texts = [text.get_text() for text in figure.subfigs[1].legends[0].get_texts()]
    assert texts[1] == "thin: below the accuracy floor, or trained further as another trial"


def test_the_names_of_the_axes_stand_on_two_lines_each_and_so_align():
    rows = [row(0, settings={"width": 8, "flip": True}), row(1)]
    (ax,) = drawn(rows, ["max_shift", "width", "flip"]).subfigs[1].axes
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["max\nshift (px)", "width\n", "flip\n", "accuracy\n(%)"]
    assert "coloured by accuracy" in ax.get_title()


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(
    ("count", "names"),
    [(1, ()), (2, ("flip",)), (60, tuple(SETTINGS)), (9, ("consistency_weight", "max_shift"))],
)
def test_the_figure_is_drawn_for_few_and_many_trials_and_settings(
    count, names, objective, tmp_path
):
    rows = random_rows(count, names)
    figure = drawn(rows, names, objective, 70.0 if objective == FLOOR else None)
    figure.savefig(tmp_path / "figure.png", dpi=40)
    if names:
        scores = 2 if objective == FLOOR else 1
        assert {len(line.get_xdata()) for line in lines_of(figure)} == {len(names) + scores}
        assert len(lines_of(figure)) == count
    assert max(figure.get_size_inches()) < 20


def test_an_axis_of_numbers_is_linear_and_has_its_values_for_ticks():
    places, ticks = axis_of("max_shift", [2, 4, 8])
    np.testing.assert_allclose(places, [0, 1 / 3, 1])
    assert {text: place for place, text in ticks}["4"] == pytest.approx(1 / 3)
    assert all(text.isdigit() for _, text in ticks)


def test_a_logarithmic_axis_puts_zero_at_its_foot():
    places, ticks = axis_of("consistency_weight", [0.1, 10.0, 1.0])
    np.testing.assert_allclose(places, [0, 1, 0.5])
    assert {text: place for place, text in ticks}["1"] == pytest.approx(0.5)
    places, ticks = axis_of("consistency_weight", [0.0, 1.0, 100.0])
    assert places[0] == 0 < places[1] < 0.5 < places[2] == 1
    assert ticks[0] == (0.0, "0")
    _, ticks = axis_of("learning_rate", [0.0312, 0.0334])  # no round number between them
    assert [text for _, text in ticks] == ["0.031", "0.033"]


@pytest.mark.parametrize(
    ("name", "values", "texts"),
    [
        ("learning_rate", [0.0035, 0.25], ["0.0035", "0.005", "0.01", "0.02", "0.05", "0.1"]),
        ("learning_rate", [0.0098, 0.102], ["0.01", "0.02", "0.03", "0.05", "0.07", "0.1"]),
        ("consistency_weight", [0.0, 0.13, 74.0], ["0", "0.13", "0.3", "1", "3", "10", "30"]),
        ("val_accuracy", [21.8, 69.15], ["24", "32", "40", "48", "56", "64", "69.2"]),
        ("max_shift", [1, 8], ["1", "2", "4", "6"]),
    ],
)
def test_the_ends_of_an_axis_have_ticks_where_there_is_room(name, values, texts):
    places, ticks = axis_of(name, values)
    assert [text for _, text in ticks][: len(texts)] == texts
    heights = [place for place, _ in ticks]
    assert min(np.diff(heights)) >= 0.05
    assert places.max() == 1.0 and heights[-1] > 0.95


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
    places, ticks = axis_of(name, values)
    assert [text for _, text in ticks] == texts
    np.testing.assert_allclose([place for place, _ in ticks], np.linspace(0, 1, len(texts)))
    assert places.min() >= -0.03 and places.max() <= 1.03


def test_a_value_that_all_have_is_in_the_middle():
    for name in ("max_shift", "learning_rate", "width"):
        places, ticks = axis_of(name, [2, 2])
        np.testing.assert_allclose(places, 0.5, atol=0.03)
        assert ticks == [(0.5, "2")]
