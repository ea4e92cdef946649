import keras
import numpy as np
import pytest
from keras import layers

from keras_gappos.analysis import ChannelRanking
from keras_gappos.experiments.attack.scores import largest_side_effect, sweep_rows

IGNORED = 3
# The last column is ignored; class 2 is in the right half alone.
TRUTH = np.array([[[0, 0, 1, 0, 2, 3], [0, 0, 1, 0, 2, 3]]])
# What the network below sees: as the truth, but for one pixel on the left, taken for a 2.
SEEN = np.array([[[2, 0, 1, 0, 2, 2], [0, 0, 1, 0, 2, 2]]])


def seeing_network():
    """Gives each pixel the class whose channel is on; with that channel off, class 0."""
    features = layers.Identity(name="features")(inputs := keras.Input((2, 6, 3)))
    pooled = layers.GlobalAveragePooling2D(name="latent")(features)
    nothing = layers.Reshape((1, 1, 3))(layers.Rescaling(0.0)(pooled))
    return keras.Model(inputs, layers.Add()([features, nothing]))


@pytest.fixture(scope="module")
def rows():
    ranking = ChannelRanking(
        (1, 2, 0), (0.0, 2.0, 1.0), activity=(3.0, 1.0, 2.0), num_images=1, settings={}
    )
    images = np.eye(3, dtype="float32")[SEEN]
    batches = [(images, TRUTH)]
    return sweep_rows(
        seeing_network(),
        batches,
        TRUTH,
        {"overall": ranking},
        (0, 1, 3),
        latent="features",
        draws=4,
        seed=0,
        ignore_class=IGNORED,
    )


def one(rows, ranking, count, region):
    key = (ranking, count, region)
    (row,) = [row for row in rows if (row["ranking"], row["count"], row["region"]) == key]
    return row


def test_a_class_counts_where_the_truth_has_it_and_what_others_take_for_it_does(rows):
    left = one(rows, "overall", 0, "left")
    # Class 0: 3 of its 4 pixels. The pixel that was taken for a 2 makes no class 2 on the left.
    assert left["iou"] == [75, 100, None]
    assert left["miou"] == 87.5
    whole = one(rows, "overall", 0, "whole")
    assert whole["iou"] == pytest.approx([100 * 5 / 6, 100, 100 * 2 / 3])
    assert whole["miou"] == pytest.approx(250 / 3)
    assert one(rows, "overall", 0, "right")["iou"] == [100, None, 100]


def test_a_class_whose_channel_is_off_is_lost_where_it_was(rows):
    left, right = (one(rows, "overall", 1, half) for half in ("left", "right"))
    assert left["iou"] == pytest.approx([100 * 3 / 6, 0, None])
    assert left["accuracy"] == pytest.approx(50)
    assert right["miou"] == 100
    # The most active channel, 0, is that of the class that nothing looks like, too.
    assert one(rows, "most_active", 1, "whole")["miou"] == pytest.approx(250 / 3)


def test_random_rows_are_means_over_draws(rows):
    names = {row["ranking"] for row in rows}
    assert names == {"overall", "random", "most_active"}
    assert len(rows) == 27
    random = one(rows, "random", 1, "whole")
    # The draws are of three channels: which of them is off says the score.
    off = {0: 250 / 3, 1: (100 * 5 / 8 + 0 + 200 / 3) / 3, 2: (100 * 6 / 8 + 100 + 0) / 3}
    order = np.random.default_rng(0)
    expected = [off[order.permutation(3)[0]] for _ in range(4)]
    assert len({round(value, 6) for value in expected}) > 1
    assert random["miou_draws"] == pytest.approx(expected)
    assert random["miou"] == pytest.approx(np.mean(expected))
    assert random["miou_std"] == pytest.approx(np.std(expected, ddof=1))
    assert one(rows, "random", 0, "left")["iou"] == [75, 100, None]
    everything_off = one(rows, "random", 3, "whole")
    assert everything_off["miou_std"] == 0
    assert everything_off["miou"] == one(rows, "overall", 3, "whole")["miou"]


def test_the_halves_are_compared_where_there_is_a_choice_of_channels():
    miou = {  # of (left, right) at each count
        "overall": {0: (80, 80), 4: (70, 60), 8: (50, 50), 16: (0, 20)},
        "left": {0: (80, 80), 4: (70, 79.99), 8: (60, 70), 16: (0, 20)},
        "right": {0: (80, 80), 4: (79, 80), 8: (70, 55), 16: (0, 20)},
    }
    rows = [
        {"ranking": ranking, "count": count, "region": region, "miou": float(value)}
        for ranking, counts in miou.items()
        for count, values in counts.items()
        for region, value in zip(("left", "right"), values)
    ]
    # With 16, which are all, each half loses what it has: 80 and 60.
    assert largest_side_effect(rows, "left") == (4, 10, pytest.approx(0.01))  # 8: as far apart
    assert largest_side_effect(rows, "right") == (8, 25, 10)
