import numpy as np
import pytest

from keras_gappos.analysis import ChannelRanking
from keras_gappos.experiments.probe.figure import NAMES, STYLES, draw
from tests.experiments.engine.figure_checks import check_figure

SETTINGS = {"dataset": "digits", "depth": 18, "width": 16, "grid_size": 3}


def part(name, scale):
    network = {"network": name, "channels": 8, "epochs": 10, "train_images": 1397}
    rows = [
        {"task": task, "ranking": ranking, "count": n, "accuracy": 90.0 - n, "chance": 10.0}
        for task in ("location", "class")
        for ranking in STYLES
        for n in (0, 4, 8)
    ]
    for row in rows:
        if row["ranking"] == "random":
            row["accuracy_draws"] = [row["accuracy"] - 1, row["accuracy"] + 1]
    scores = tuple((scale * np.linspace(0, 1, 8)).tolist())
    ranking = ChannelRanking(tuple(range(8)), scores, scores, 50, {"region": "label"})
    return network, rows, {"cell": ranking, "class": ranking}


@pytest.mark.parametrize("names", [("resnet",), tuple(NAMES)])
def test_the_figure_has_one_legend_and_the_same_axes_for_the_channels_of_all(names):
    figure = draw([part(name, 0.9 - 0.3 * i) for i, name in enumerate(names)], SETTINGS)
    texts = check_figure(figure)
    labels = [style["label"] for style in STYLES.values()]
    assert sorted(texts) == sorted([*labels, "range of 2 random draws", "chance", "a channel"])
    dots = figure.get_axes()[2::3]
    assert len(dots) == len(names)
    assert len({(*ax.get_xlim(), *ax.get_ylim()) for ax in dots}) == 1
    assert dots[0].get_xlim()[1] > 90  # no dot is cut off
    assert [strip.get_suptitle() for strip in figure.subfigs] == [NAMES[name] for name in names]
