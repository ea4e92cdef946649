import json

import keras
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from keras import layers, ops

from keras_gappos.analysis import ChannelRanking, ablate, mean_color, rank_channels

matplotlib.use("Agg")

RNG = np.random.default_rng(0)
IMAGES = RNG.random((5, 4, 4, 1)).astype("float32")
ONES = np.ones((2, 4, 4, 1), "float32")

# Where each channel of `position_net` looks: its feature map is the image there, 0 elsewhere.
LEFT, RIGHT, ALL, TOP, NOWHERE, CORNER = range(6)
PLACES = np.zeros((4, 4, 6), "float32")
PLACES[:, :2, LEFT] = PLACES[:, 2:, RIGHT] = PLACES[..., ALL] = PLACES[:2, :, TOP] = 1
PLACES[0, 0, CORNER] = 1


def position_net(pooling=layers.GlobalAveragePooling2D, places=PLACES):
    inputs = keras.Input((4, 4, 1))
    features = layers.Identity(name="map")(ops.multiply(inputs, places))
    return keras.Model(inputs, layers.Dense(2)(pooling(name="gap")(features)), name="net")


def scores(*args, **kwargs):
    return np.array(rank_channels(position_net(), *args, **kwargs).scores)


def test_flip_by_hand():
    images = np.zeros((1, 4, 4, 1), "float32")
    images[0, 0, 0] = 16  # a corner: the mean over 16 pixels is 1 where a channel sees it
    ranking = rank_channels(position_net(), images)
    assert ranking.scores == (1, 1, 0, 0, 0, 1)
    assert ranking.channels == (LEFT, RIGHT, CORNER, ALL, TOP, NOWHERE)
    assert ranking.activity == (1, 0, 1, 1, 0, 1)
    assert ranking.num_images == 1
    assert ranking.settings["method"] == "flip" and ranking.settings["latent"] == "gap"


def test_flip_is_the_mean_of_absolute_differences_image_by_image():
    z = np.einsum("nhwo,hwc->nc", IMAGES, PLACES) / 16
    flipped = np.einsum("nhwo,hwc->nc", IMAGES[:, :, ::-1], PLACES) / 16
    np.testing.assert_allclose(scores(IMAGES), np.abs(z - flipped).mean(axis=0), atol=1e-6)
    signed = (z - flipped).mean(axis=0)
    np.testing.assert_allclose(scores(IMAGES, "left", method="signed_flip"), signed, atol=1e-6)
    np.testing.assert_allclose(scores(IMAGES, "right", method="signed_flip"), -signed, atol=1e-6)


@pytest.mark.parametrize(("region", "sign"), [("top", 1), ("bottom", -1)])
def test_signed_flips_of_top_and_bottom_are_upside_down(region, sign):
    images = np.zeros((1, 4, 4, 1), "float32")
    images[0, 0, 0] = 16
    found = scores(images, region, method="signed_flip") * sign
    assert found.tolist() == [0, 0, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("left", [0.5, -0.5, 0, 0, 0, 1 / 16]),
        ("right", [-0.5, 0.5, 0, 0, 0, -1 / 16]),
        ("top", [0, 0, 0, 0.5, 0, 1 / 16]),
        ("bottom", [0, 0, 0, -0.5, 0, -1 / 16]),
        ("center", [-0.25, -0.25, -0.5, -0.25, 0, -1 / 16]),
        ((0, 0, 1, 1), [-0.375, -0.5, -0.875, -0.375, 0, 1 / 16]),
        (PLACES[..., LEFT] > 0, [0.5, -0.5, 0, 0, 0, 1 / 16]),
    ],
    ids=["left", "right", "top", "bottom", "center", "box", "mask"],
)
def test_regions_by_hand(region, expected):
    np.testing.assert_allclose(scores(ONES, region, mean=0), expected, atol=1e-6)


def test_what_is_not_kept_is_the_mean_color_of_the_images():
    images = np.concatenate([ONES, 3 * ONES])
    np.testing.assert_allclose(scores(images, "left"), 0, atol=1e-6)  # 2 on the average: no change
    images = np.concatenate([ONES, 5 * ONES[:1]])  # the mean is 7/3, in each image's other half
    np.testing.assert_allclose(
        scores(images, "left"), scores(images, "left", mean=[7 / 3]), atol=1e-6
    )
    assert mean_color(images) == pytest.approx([7 / 3])


def test_normalized_scores_are_shares_of_the_activity():
    images = np.array([1, 3], "float32")[:, None, None, None] * ONES
    ranking = rank_channels(position_net(), images, "left", mean=0, divide_by_activity=True)
    np.testing.assert_allclose(ranking.scores, [1, -1, 0, 0, 0, 1], atol=1e-6)
    assert ranking.activity == pytest.approx((1, 1, 2, 1, 0, 1 / 8))
    assert ranking.channels[-1] == NOWHERE  # never active, though right's score is lower


def test_a_tiny_activity_does_not_make_a_channel_large():
    places = PLACES.copy()
    places[..., CORNER] *= 1e-6
    ranking = rank_channels(
        position_net(places=places), ONES, "left", mean=0, divide_by_activity=True
    )
    assert ranking.channels[0] == LEFT and ranking.scores[CORNER] < 0.01


def test_the_layer_named_decides_the_pooling():
    net = position_net(layers.GlobalMaxPooling2D)
    images = np.zeros((1, 4, 4, 1), "float32")
    images[0, 0, 0] = 16
    assert rank_channels(net, images).scores[CORNER] == 16
    assert rank_channels(net, images, latent="map").scores[CORNER] == 1
    assert rank_channels(net, images, latent=net.get_layer("gap")).scores[CORNER] == 16


def test_batches_and_streams_change_nothing():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return IMAGES[2 * index : 2 * index + 2], None

    expected = scores(IMAGES, "left")
    mean = mean_color(IMAGES)
    for images in (Batches(), [IMAGES[:4], IMAGES[4:]], (IMAGES[i : i + 1] for i in range(5))):
        np.testing.assert_allclose(scores(images, "left", mean=mean), expected, atol=1e-6)
    np.testing.assert_allclose(scores(IMAGES, "left", batch_size=2), expected, atol=1e-6)


@pytest.mark.tensorflow
def test_a_tf_data_set_is_read_once():
    import tensorflow as tf

    read = []

    def generate():
        read.append(1)
        yield from IMAGES

    dataset = tf.data.Dataset.from_generator(
        generate, output_signature=tf.TensorSpec((4, 4, 1), "float32")
    )
    np.testing.assert_allclose(scores(dataset.batch(2)), scores(IMAGES), atol=1e-6)
    assert len(read) == 1


def test_whole_numbers_are_taken_as_they_are():
    images = RNG.integers(0, 256, (3, 4, 4, 1), dtype="uint8")
    for region in ("overall", "left"):
        np.testing.assert_allclose(
            scores(images, region), scores(images.astype("float32"), region), rtol=1e-5
        )


def test_a_ranking_goes_through_json(tmp_path):
    ranking = rank_channels(position_net(), IMAGES, (0, 0, 2, 3), divide_by_activity=True)
    path = tmp_path / "ranking.json"
    path.write_text("old")
    ranking.to_json(path)
    assert ChannelRanking.from_json(path) == ranking
    assert ranking.settings["region"] == [0, 0, 2, 3]
    assert [file.name for file in tmp_path.iterdir()] == ["ranking.json"]


@pytest.mark.parametrize("damage", [None, "channels", "twice", "activity"])
def test_another_file_is_no_ranking(tmp_path, damage):
    path = tmp_path / "ranking.json"
    content = rank_channels(position_net(), IMAGES).to_dict()
    if damage == "twice":
        content["channels"][0] = content["channels"][1]
    elif damage == "activity":
        content["activity"].pop()
    else:
        content.pop(damage, None)
    path.write_text(json.dumps(content) if damage else "{")
    with pytest.raises(ValueError, match=r"ranking\.json is not a channel ranking"):
        ChannelRanking.from_json(path)


def test_the_plot_shows_the_scores_best_first():
    ranking = rank_channels(position_net(), IMAGES)
    ax = ranking.plot()
    assert list(ax.lines[0].get_ydata()) == sorted(ranking.scores, reverse=True)
    assert ranking.plot(ax, label="again", color="red") is ax
    assert ax.lines[2].get_color() == "red"
    texts = ax.get_legend().get_texts()
    assert [text.get_text() for text in texts] == ["position channels: overall", "again"]
    assert texts[0].get_fontsize() >= 14  # readable at half the size


def test_the_first_plot_of_a_notebook_leaves_it_interactive(monkeypatch):
    """The backend of notebooks, which is loaded with the first figure, shows later ones only so."""
    make_figure = plt.figure

    def load_backend(**arguments):
        matplotlib.interactive(True)
        return make_figure(**arguments)

    monkeypatch.setattr(plt, "figure", load_backend)
    try:
        rank_channels(position_net(), IMAGES).plot()
        assert matplotlib.is_interactive()
    finally:
        matplotlib.interactive(False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"region": "middle"}, "Received: region='middle'"),
        ({"region": (0, 0, 5, 2)}, r"the images' size. Received: region=\(0, 0, 5, 2\)"),
        ({"region": (0, 0, 0.5, 2)}, "four integers"),
        ({"region": (0, 0, 2)}, "four integers"),
        ({"region": (1, 1, 1, 3)}, "which is empty"),
        ({"region": (0, 0, 4, 4)}, "which is the whole image"),
        ({"region": np.zeros((4, 4), bool)}, "which is empty"),
        ({"region": np.ones((4, 4), bool)}, "which is the whole image"),
        ({"region": np.ones((4, 3), bool)}, r"mask of shape \(4, 3\)"),
        ({"region": np.eye(4)}, "an array of booleans"),
        ({"method": "flips"}, "Did you mean 'flip'"),
        ({"method": ""}, "`method` must be one of"),
        ({"method": "flip", "region": "left"}, '`region` must be "overall"'),
        ({"method": "region"}, "`region` must be a region"),
        ({"method": "signed_flip", "region": "center"}, "`region` must be one of"),
        ({"method": "signed_flip", "region": np.eye(4) > 0}, "`region` must be one of"),
        ({"region": "left", "mean": [0, 1]}, "`mean` must be one finite number, or 1"),
        ({"region": "left", "mean": "imagenet"}, "`mean` must be one finite.*mean='imagenet'"),
        ({"region": "left", "mean": np.nan}, "`mean` must be one finite number"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"latent": "dense"}, "`latent` must be a layer of `model`"),
        ({"latent": "head"}, "`latent` must be a global pooling layer, or a layer that gives"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    net = keras.Sequential([position_net(), layers.Dense(1, name="head")])
    with pytest.raises(ValueError, match=message):
        rank_channels(net, IMAGES, **{"latent": "gap", **arguments})


def test_a_stream_needs_the_mean_for_a_region():
    with pytest.raises(ValueError, match="`mean` is needed where `images` are a stream"):
        rank_channels(position_net(), [IMAGES], "left")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[:0], "There are no images"),
        (IMAGES * np.nan, "must be finite"),
        (IMAGES[:, :3], "must be of the shape that `model` takes"),
        (IMAGES[0], "must be of shape"),
    ],
)
def test_bad_images_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        rank_channels(position_net(), images)


def test_a_model_that_gives_nan_is_refused():
    with pytest.raises(ValueError, match="`model` must give numbers"):
        rank_channels(position_net(places=PLACES * np.nan), IMAGES)


def test_a_model_without_a_graph_is_refused():
    with pytest.raises(ValueError, match="Functional or Sequential"):
        rank_channels(keras.Sequential([layers.GlobalAveragePooling2D()]), IMAGES)


def test_a_model_without_pooling_is_refused_with_its_layers_names():
    conv = layers.Conv2D(2, 1, name="conv")
    net = keras.Sequential([keras.Input((4, 4, 1)), conv, layers.Flatten(name="flat")])
    with pytest.raises(ValueError, match=r"model with layers \['conv', 'flat'\]"):
        rank_channels(net, IMAGES)
    assert len(rank_channels(net, IMAGES, latent="conv").channels) == 2


def test_the_error_of_a_deep_model_lists_its_last_layers():
    stack = [layers.Conv2D(2, 1, name=f"conv{number}") for number in range(300)]
    net = keras.Sequential([keras.Input((4, 4, 1)), *stack, layers.Flatten(name="flat")])
    listed = r"301 layers, the last of them \['conv281'.*'flat'\]"
    with pytest.raises(ValueError, match=listed) as error:
        rank_channels(net, IMAGES)
    assert len(str(error.value)) < 500


def without_top(nested, operation):
    """As the models of `keras.applications` with `include_top=False`, pooling="gap" left out."""
    inputs = keras.Input((4, 4, 1))
    features = layers.Identity(name="map")(ops.multiply(inputs, PLACES))
    features = ops.relu(features) if operation else features
    net = keras.Model(inputs, features, name="backbone")
    return keras.Sequential([keras.Input((4, 4, 1)), net]) if nested else net


@pytest.mark.parametrize("operation", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_the_only_output_is_the_feature_map_of_a_model_without_a_top(nested, operation):
    net = without_top(nested, operation)
    expected = rank_channels(position_net(), IMAGES, "left")
    ranking = rank_channels(net, IMAGES, "left")
    np.testing.assert_allclose(ranking.scores, expected.scores, atol=1e-6)
    assert operation or ranking.settings["latent"] == "map"
    off = [LEFT, ALL]
    outputs = ablate(net, off).predict_on_batch(IMAGES)
    kept = np.delete(np.arange(6), off)
    assert not outputs[..., off].any()
    np.testing.assert_array_equal(outputs[..., kept], net.predict_on_batch(IMAGES)[..., kept])


def test_the_repr_shows_the_best_channels_and_what_they_are_best_at():
    ranking = rank_channels(position_net(), IMAGES, "left", divide_by_activity=True)
    best = ", ".join(map(str, ranking.channels))
    assert repr(ranking) == (
        f"ChannelRanking(best: {best}; region='left', method='region', latent='gap', "
        "divide_by_activity=True, num_images=5)"
    )
    many = ChannelRanking(tuple(range(512)), (0.0,) * 512, (0.0,) * 512, 9, ranking.settings)
    assert "best: 0, 1, 2, 3, 4, 5, 6, 7, ... of 512; " in repr(many) and len(repr(many)) < 200
