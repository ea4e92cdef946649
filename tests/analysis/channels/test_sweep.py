import json

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_gappos.analysis import AblationSweep

matplotlib.use("Agg")

COUNTS = (8, 0, 4)  # in any order


def rows(**more):
    made = [
        {"ranking": ranking, "count": n, "region": region, "miou": 80.0 - n, "accuracy": 90.0 - n}
        for ranking in ("overall", "random")
        for n in COUNTS
        for region in ("whole", "left")
    ]
    for row in made:
        row.update(more)
        if row["ranking"] == "random":
            row["miou_draws"] = [row["miou"] - 2, row["miou"] + 1, None]
    return made


def curves(ax):
    return {line.get_label(): line.get_xydata().tolist() for line in ax.lines}


def test_a_sweep_is_the_list_of_its_rows():
    sweep = AblationSweep(rows())
    assert sweep == rows() and sweep[0] == rows()[0] and len(sweep) == 12
    assert json.loads(json.dumps(sweep)) == rows()
    assert sweep[:1] + [row for row in sweep if row["count"] == 4] == [
        rows()[0],
        *rows()[4:6],
        *rows()[10:],
    ]


def test_a_curve_for_each_ranking_and_a_band_around_random_channels():
    ax = AblationSweep(rows()).plot()
    points = [[0, 80], [4, 76], [8, 72]]
    assert curves(ax) == {"overall": points, "random channels": points}
    (band,) = ax.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (70, 81)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("channels off", "mIoU (%)")
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["overall", "random channels", "range of 3 random draws"]


def test_other_scores_and_regions_are_drawn_in_given_axes_and_styles():
    given = Figure().subplots()
    sweep = AblationSweep(rows(top1=None))
    sweep[1]["accuracy"] = None  # nothing to measure there
    styles = {"random": {"color": "red", "label": "others"}}
    ax = sweep.plot(given, score="accuracy", region="left", styles=styles, lw=5)
    assert ax is given and ax.get_legend() is None
    assert [line.get_label() for line in ax.lines] == ["others", "overall"]
    assert [line.get_linewidth() for line in ax.lines] == [5, 5]
    assert ax.lines[0].get_color() == "red" and not ax.collections
    assert np.isnan(ax.lines[1].get_ydata()[2])
    sweep.plot(ax, "mine", score="accuracy", region="left")
    assert [text.get_text() for text in ax.get_legend().get_texts()][2:] == [
        "mine: overall",
        "mine: random channels",
    ]


def test_rows_of_one_region_need_not_say_so():
    sweep = AblationSweep({k: v for k, v in row.items() if k != "region"} for row in rows()[::2])
    assert set(curves(sweep.plot())) == {"overall", "random channels"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"score": "top1"},
            r"`score` must be one of \('miou', 'accuracy'\). Received: score='top1'",
        ),
        ({"region": "lef"}, r"`region` must be one of \('whole', 'left'\).*Did you mean 'left'"),
    ],
)
def test_what_the_rows_do_not_have_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        AblationSweep(rows()).plot(**arguments)
