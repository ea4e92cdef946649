import pytest

from keras_gappos.experiments.engine.effects import (
    costs,
    largest_effect,
    networks,
    points,
    sweep_lines,
    sweep_of,
    telling_counts,
)


def row(ranking, count, miou, region="whole"):
    return {"ranking": ranking, "count": count, "region": region, "miou": miou}


def test_the_effect_is_what_overall_channels_cost_beyond_random_ones():
    overall = {0: 60.0, 4: 50.0, 8: 20.0, 16: 5.0}
    random = {0: 60.0, 4: 58.0, 8: 50.0, 16: 35.0}
    rows = [row("overall", n, miou) for n, miou in overall.items()]
    rows += [row("random", n, miou) for n, miou in random.items()]
    rows += [row("overall", n, 0.0, "left") for n in overall]
    # 8, 30 and 30 points more: of equal effects the one of fewer channels.
    assert largest_effect(rows, "miou", "overall", region="whole") == (
        8,
        {"overall": 40.0, "random": 10.0},
    )
    assert costs(rows, "miou", region="whole")["random"] == {4: 2.0, 8: 10.0, 16: 25.0}
    assert costs(rows, "miou", region="left") == {"overall": {4: 0.0, 8: 0.0, 16: 0.0}}


def test_where_all_channels_are_off_there_is_no_choice_and_no_effect():
    overall, random = {0: 60.0, 4: 59.0, 8: 0.0}, {0: 60.0, 4: 59.5, 8: 0.0}
    rows = [row("overall", n, miou) for n, miou in overall.items()]
    rows += [row("random", n, miou) for n, miou in random.items()]
    assert telling_counts(costs(rows, "miou")) == [4]
    assert largest_effect(rows, "miou", "random") == (4, {"overall": 1.0, "random": 0.5})
    all_off = [one for one in rows if one["count"] != 4]
    assert largest_effect(all_off, "miou", "overall")[0] == 8  # the only one that there is


def test_each_network_has_the_rows_of_its_own_sweep():
    rows = [
        {"flip": flip, **row(ranking, 0, 1.0)}
        for flip in (True, False)
        for ranking in ("overall", "none")
    ]
    assert networks(rows) == [rows[1], rows[3]]
    assert sweep_of(rows, rows[3], "flip") == [rows[2]]


@pytest.mark.parametrize(("spread", "text"), [(True, "40.0±1.5 / 30.0"), (False, "40.0 / 30.0")])
def test_a_line_has_the_scores_of_each_part_with_the_deviation_of_random_draws(spread, text):
    rows = [
        {**row("random", count, miou, region), "miou_std": std}
        for count, miou, region, std in (
            (0, 60.0, "left", 1.5),
            (0, 60.0, "right", 1.5),
            (2, 40.0, "left", 1.5),
            (2, 30.0, "right", None),
        )
    ]
    parts = [{"region": "left"}, {"region": "right"}]
    lines = sweep_lines(rows, "miou", [("random", parts)], spread)
    assert lines == [["0", "60.0 / 60.0"], ["2", text]]


def test_what_rounds_to_zero_has_no_sign():
    assert [points(value) for value in (-0.04, 0.04, -0.06)] == ["0.0", "0.0", "-0.1"]
