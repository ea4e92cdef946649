import keras
import matplotlib
import numpy as np
import pytest
from keras import layers
from sklearn.feature_selection import f_classif

from keras_gappos.analysis import rank_channels_by_label

matplotlib.use("Agg")

RNG = np.random.default_rng(0)
LABELS = np.array([0, 1, 2, 0, 1, 2, 2, 2, 0, 1, 1])
# Channel 0 knows the label, 1 half of it, 2 nothing, 3 is large and nearly constant, 4 constant.
NOISE = RNG.normal(size=(len(LABELS), 5))
LATENTS = np.stack([LABELS, LABELS, np.zeros(11), np.full(11, 100.0), np.ones(11)], axis=-1)
LATENTS = (LATENTS + NOISE * [0.1, 1, 1, 0.01, 0]).astype("float32")
IMAGES = np.tile(LATENTS[:, None, None], (1, 2, 2, 1))  # the mean over the pixels is the latent


def network():
    inputs = keras.Input((2, 2, 5))
    return keras.Sequential([inputs, layers.GlobalAveragePooling2D(name="gap"), layers.Dense(2)])


def batches(*sizes):
    ends = np.cumsum(sizes)
    return [(IMAGES[end - size : end], LABELS[end - size : end]) for size, end in zip(sizes, ends)]


@pytest.mark.parametrize(
    ("images", "labels"),
    [(IMAGES, LABELS), (IMAGES, np.eye(4)[LABELS]), (batches(1, 6, 4), None)],
    ids=["array", "one-hot", "stream"],
)
def test_the_score_is_the_f_statistics_share_of_variance(images, labels):
    ranking = rank_channels_by_label(network(), images, labels, num_labels=4, batch_size=4)
    f = f_classif(LATENTS[:, :4].astype("float64"), LABELS)[0]
    expected = f * 2 / (f * 2 + len(LABELS) - 3)  # one of the four labels is never seen
    np.testing.assert_allclose(ranking.scores[:4], expected, rtol=1e-5)
    assert ranking.scores[4] == 0
    assert ranking.channels == (*np.argsort(-f), 4)
    assert ranking.num_images == len(LABELS) and ranking.settings["latent"] == "gap"
    np.testing.assert_allclose(ranking.activity, np.abs(LATENTS).mean(axis=0), rtol=1e-5)


def test_a_channel_that_is_the_label_has_all_its_variance_explained():
    images = np.tile(np.float32(LABELS)[:, None, None, None], (1, 2, 2, 5))
    ranking = rank_channels_by_label(network(), images, LABELS, num_labels=3)
    np.testing.assert_allclose(ranking.scores, 1)
    assert ranking.plot().lines[0].get_label() == "channels by label"


@pytest.mark.parametrize(
    ("images", "labels", "num_labels", "message"),
    [
        (IMAGES, LABELS, 1, "`num_labels` must be an integer of at least 2"),
        (IMAGES, LABELS, 2, r"integers in \[0, 2\)"),
        (IMAGES, LABELS[1:], 3, "one entry for each image"),
        (IMAGES, None, 3, "`labels` must be given"),
        (IMAGES, 0 * LABELS, 3, "`labels` must be of two kinds or more"),
        (IMAGES[:, :1], LABELS, 3, "of the shape that `model` takes"),
        (IMAGES * np.float32(np.nan), LABELS, 3, "must be finite"),
    ],
)
def test_bad_input_is_named(images, labels, num_labels, message):
    with pytest.raises(ValueError, match=message):
        rank_channels_by_label(network(), images, labels, num_labels)
