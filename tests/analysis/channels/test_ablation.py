import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_gappos.analysis import ablate, ablation_sweep, rank_channels, segmentation_scores
from keras_gappos.models import resnet

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(5, 8, 12, 2)).astype("float32")
MASKS = RNG.integers(0, 4, (5, 8, 12))
LABELS = RNG.integers(0, 3, 5)


def segmentation_net(head=lambda x: x, classes=3):
    """A small U-Net: what comes after the feature map "map" also reads an earlier layer."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 2))
    early = layers.Conv2D(3, 3, padding="same", activation="relu", name="early")(inputs)
    x = layers.MaxPooling2D(2)(early)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="map")(x)
    x = layers.Concatenate()([layers.UpSampling2D(2)(x), early])
    x = layers.Conv2D(classes, 3, padding="same")(x)
    return keras.Model(inputs, head(x))


def classifier(classes=3):
    keras.utils.set_random_seed(0)
    stack = [layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D(name="gap")]
    return keras.Sequential([keras.Input((8, 12, 2)), *stack, layers.Dense(classes, name="last")])


def predict(model, images=IMAGES):
    return model.predict(images, verbose=0)


def test_no_channels_keep_every_bit_and_all_channels_make_every_image_look_the_same():
    net = resnet(18, (8, 12, 2), 3, width=2)
    none, everything = (ops.convert_to_numpy(ablate(net, c)(IMAGES)) for c in ([], range(16)))
    np.testing.assert_array_equal(none, ops.convert_to_numpy(net(IMAGES)))
    assert not (none == none[0]).all()
    assert (everything == everything[0]).all() and np.isfinite(everything).all()


def test_equals_the_network_with_the_weights_of_these_channels_at_zero():
    net = classifier()
    kernel, bias = net.get_layer("last").get_weights()
    ablated = ablate(net, [0, 3])
    kernel[[0, 3]] = 0
    net.get_layer("last").set_weights([kernel, bias])  # shared: the ablated one has them too
    np.testing.assert_allclose(predict(net), predict(ablated), atol=1e-6)
    assert ablated.inputs[0].name == net.inputs[0].name
    assert [layer.name for layer in ablated.layers][-3:] == ["channel_mask", "gap", "last"]


def test_every_branch_sees_the_mask_and_nothing_else_changes():
    inputs = keras.Input((8, 12, 2), name="image")
    x = layers.Conv2D(3, 1, name="conv")(inputs)
    features = layers.Identity(name="map")(x)
    pooled = layers.GlobalAveragePooling2D()(features)
    outputs = {"map": features, "pooled": pooled, "twice": features * 2.0, "before": x}
    net = keras.Model({"image": inputs}, {**outputs, "inputs": inputs})
    ours, theirs = (predict(model, {"image": IMAGES}) for model in (ablate(net, [1]), net))
    for name, values in theirs.items():
        if name in ("map", "pooled", "twice"):
            assert values[..., 1].any()
            values[..., 1] = 0
        np.testing.assert_allclose(ours[name], values, atol=1e-6, err_msg=name)


def backbone(pooling, name="backbone"):
    inputs = keras.Input((8, 12, 2))
    features = layers.Conv2D(4, 3, activation="relu", name="features")(inputs)
    outputs = layers.GlobalAveragePooling2D(name="gap")(features) if pooling else features
    return keras.Model(inputs, outputs, name=name)


@pytest.mark.parametrize("latent", [None, "gap", "features", "backbone"])
@pytest.mark.parametrize("pooling", [True, False])
def test_a_backbone_that_is_one_layer(tmp_path, pooling, latent):
    keras.utils.set_random_seed(0)
    top = [] if pooling else [layers.GlobalAveragePooling2D(name="gap")]
    stack = [keras.Input((8, 12, 2)), layers.Rescaling(2.0), backbone(pooling), *top]
    net = keras.Sequential([*stack, layers.Dense(3)])
    ablated = ablate(net, [0, 2], latent)
    z = predict(keras.Sequential([keras.Input((8, 12, 2)), *net.layers[:-1]]))
    kernel = net.layers[-1].get_weights()[0]
    np.testing.assert_allclose(predict(ablated), z[:, [1, 3]] @ kernel[[1, 3]], rtol=1e-5)
    path = tmp_path / "ablated.keras"
    ablated.save(path)
    np.testing.assert_array_equal(predict(keras.saving.load_model(path)), predict(ablated))

    ranking = rank_channels(net, IMAGES, latent=latent)
    np.testing.assert_allclose(ranking.activity, z.mean(axis=0), rtol=1e-5)
    arguments = {"latent": latent, "baselines": ()}
    (row,) = ablation_sweep(net, IMAGES, LABELS, [0, 2], [2], **arguments)
    assert row["top1"] == pytest.approx(100 * (predict(ablated).argmax(-1) == LABELS).mean())


@pytest.mark.parametrize("latent", [None, "inside"])
def test_a_classifier_that_is_one_layer_stands_for_its_last_pooling(latent):
    inside = keras.Sequential(classifier().layers, name="inside")
    net = keras.Sequential([keras.Input((8, 12, 2)), layers.Rescaling(1.0), inside])
    ours, theirs = ablate(net, [0, 3], latent), ablate(inside, [0, 3])
    assert (predict(ours) != predict(net)).any()
    np.testing.assert_allclose(predict(ours), predict(theirs), atol=1e-6)
    assert rank_channels(net, IMAGES, latent=latent).settings["latent"] == "gap"


def test_a_latent_name_that_two_backbones_have_is_refused():
    inputs = keras.Input((8, 12, 2))
    one, other = backbone(True, "one"), backbone(True, "other")
    net = keras.Model(inputs, one(inputs) + other(inputs))
    with pytest.raises(ValueError, match="`latent` must name one layer"):
        ablate(net, [0], "features")
    assert ablate(net, [0], other.get_layer("features")).output_shape == (None, 4)


@pytest.mark.slow
def test_keras_applications():
    net = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=3)
    images = RNG.random((2, 32, 32, 3)).astype("float32")
    outputs = ops.convert_to_numpy(ablate(net, range(1280))(images))
    assert (outputs[0] == outputs[1]).all()
    assert len(rank_channels(net, images).channels) == 1280


def test_an_ablated_network_can_be_ablated_again():
    net = classifier()
    twice, once = ablate(ablate(net, [0]), [2]), ablate(net, [0, 2])
    np.testing.assert_array_equal(predict(twice), predict(once))


def test_sweep_gives_what_ablating_and_running_the_whole_network_gives():
    net = segmentation_net()
    ranking = rank_channels(net, IMAGES, latent="map")
    arguments = {"latent": "map", "ignore_class": 3, "regions": ("whole", "left", "bottom")}
    rows = ablation_sweep(net, IMAGES, MASKS, ranking, [0, 1, 3, 4], batch_size=2, **arguments)
    assert [row["ranking"] for row in rows[::12]] == ["overall", "random", "most_active"]
    most_active = np.argsort(ranking.activity)[::-1]
    for row in rows:
        if row["ranking"] == "random":
            continue
        order = ranking.channels if row["ranking"] == "overall" else most_active
        ablated = ablate(net, order[: row["count"]], "map")
        expected = segmentation_scores(
            ablated, IMAGES, MASKS, ignore_class=3, regions=arguments["regions"]
        )[row["region"]]
        for score in ("miou", "accuracy", "iou"):
            assert row[score] == pytest.approx(getattr(expected, score), abs=1e-5)
    assert len({row["miou"] for row in rows if row["region"] == "whole"}) > 4


def test_random_rows_are_means_over_draws_that_grow_by_adding_channels():
    arguments = (segmentation_net(), IMAGES, MASKS % 3, range(4), [0, 1, 2, 3, 4])
    rows = ablation_sweep(
        *arguments, latent="map", baselines="random", draws=3, regions=["whole"], seed=1
    )
    ours, random = rows[:5], rows[5:]
    for row in random:
        assert row["miou"] == pytest.approx(np.mean(row["miou_draws"]))
        assert row["miou_std"] == pytest.approx(np.std(row["miou_draws"], ddof=1))
    for same in (0, 4):  # no choice there
        assert random[same]["miou_std"] == 0
        assert random[same]["miou"] == pytest.approx(ours[same]["miou"])
    assert random[1]["miou_std"] > 0
    more = ablation_sweep(
        *arguments, latent="map", baselines="random", draws=4, regions=["whole"], seed=1
    )
    assert more[6]["miou_draws"][:3] == random[1]["miou_draws"]


def test_sweep_of_a_classifier_by_hand():
    """Channel c is the image's channel c; the class is the larger of the two channels."""
    inputs = keras.Input((2, 2, 2))
    net = keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.Identity()(inputs)))
    images = np.ones((4, 2, 2, 2), "float32")
    images[:3, ..., 1] = 2
    labels = np.array([1, 1, 0, 0])
    rows = ablation_sweep(
        net, images, labels, {"a": [0, 1], "b": [1]}, [0, 1], baselines=["random"], draws=1
    )
    assert [(row["ranking"], row["count"], row["top1"]) for row in rows[:4]] == [
        ("a", 0, 75),
        ("a", 1, 50),  # always class 1
        ("b", 0, 75),
        ("b", 1, 50),  # always class 0
    ]
    assert rows[4]["top1_std"] is None and rows[4]["region"] == "whole"


def test_the_default_baselines_follow_what_is_given():
    net = classifier()
    channels = list(range(net.layers[-2].input.shape[-1]))
    ranking = rank_channels(net, IMAGES)
    for given, names in (
        (channels, ["ranking", "random"]),
        ({"a": channels, "b": channels[::-1]}, ["a", "b", "random"]),
        (ranking, ["overall", "random", "most_active"]),
        ({"a": channels, "b": ranking}, ["a", "b", "random", "most_active"]),
    ):
        rows = ablation_sweep(net, IMAGES, LABELS, given, [1], draws=1)
        assert [row["ranking"] for row in rows] == names


def test_the_part_before_the_feature_map_runs_once_for_each_batch():
    @keras.saving.register_keras_serializable("test")
    class Counting(layers.Layer):
        def build(self, shape):
            self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

        def call(self, inputs):
            self.calls.assign(self.calls + 1)
            return inputs

    counting, after = Counting(), Counting()
    inputs = keras.Input((8, 12, 2))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 1)(counting(inputs)))
    net = keras.Model(inputs, layers.Dense(3)(after(x)))
    ablation_sweep(net, IMAGES, LABELS, range(4), [0, 1, 4], batch_size=2, baselines=())
    assert int(counting.calls) == 3
    assert int(after.calls) == 9


def test_streams_bring_their_own_masks():
    net = segmentation_net()
    rows = [
        ablation_sweep(
            net, images, masks, range(4), [2], latent="map", baselines=(), ignore_class=3
        )
        for images, masks in (
            (IMAGES, MASKS),
            ([(IMAGES[:3], MASKS[:3, ..., None]), (IMAGES[3:], MASKS[3:])], None),
        )
    ]
    assert rows[0] == rows[1]


def test_one_output_per_pixel_needs_a_threshold():
    net = segmentation_net(classes=1)
    arguments = (net, IMAGES, MASKS % 2, range(4), [0])
    with pytest.raises(ValueError, match="`threshold` is needed"):
        ablation_sweep(*arguments, latent="map", baselines=())
    row, *_ = ablation_sweep(*arguments, latent="map", baselines=(), threshold=0.0)
    expected = 100 * ((predict(net)[..., 0] > 0) == MASKS % 2).mean()
    assert row["accuracy"] == pytest.approx(expected)
    scores = segmentation_scores(net, IMAGES, MASKS % 2, threshold=0.0)
    assert 0 < scores["whole"].accuracy == pytest.approx(expected)


@pytest.mark.parametrize(
    ("channels", "message"),
    [([4], r"in \[0, 4\)"), ([1, 1], "once each"), ([0.5], "integers")],
)
def test_channels_that_do_not_fit_are_refused(channels, message):
    with pytest.raises(ValueError, match=message):
        ablate(classifier(), channels)
    with pytest.raises(ValueError, match=f"{message}.*in ranking 'ranking'"):
        ablation_sweep(classifier(), IMAGES, LABELS, channels, [0], baselines=())


@pytest.mark.parametrize(
    ("latent", "message"),
    [("last", "`latent` must be a global pooling layer, or"), ("lost", "`latent` must be a layer")],
)
def test_a_latent_that_is_no_feature_map_is_refused(latent, message):
    with pytest.raises(ValueError, match=message):
        ablate(classifier(), [0], latent)


def test_a_layer_that_is_called_twice_is_refused():
    conv, inputs = layers.Conv2D(2, 1, name="conv"), keras.Input((8, 12, 2))
    net = keras.Model(inputs, layers.GlobalAveragePooling2D()(conv(conv(inputs))))
    with pytest.raises(ValueError, match="'conv', called 2 times"):
        ablate(net, [0], "conv")
    assert not predict(ablate(net, [0]))[:, 0].any()  # the input of the pooling is one tensor


def test_channels_first_are_refused():
    pool = layers.GlobalAveragePooling2D(data_format="channels_first")
    net = keras.Sequential([keras.Input((8, 12, 2)), layers.Conv2D(4, 1), pool])
    with pytest.raises(ValueError, match="Channels must be the last axis"):
        ablate(net, [0])


def test_a_network_of_channels_first_is_refused_whatever_the_latent():
    first = {"data_format": "channels_first"}
    stack = [layers.Conv2D(2, 1, **first), layers.ReLU(name="map"), layers.Flatten()]
    net = keras.Sequential([keras.Input((2, 8, 12)), *stack])
    with pytest.raises(ValueError, match=r"must take images \(batch, height, width, channels\)"):
        ablate(net, [0], "map")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"counts": [5]}, r"`counts` must be an integer in \[0, 5\)"),
        ({"counts": [1, 1]}, "each once"),
        ({"counts": []}, "each once"),
        ({"ranking": [0], "counts": [2]}, "where ranking 'ranking' has 1"),
        ({"ranking": {}}, "`ranking` must have an entry"),
        ({"ranking": {"random": [0, 1]}}, "must not have the name of a baseline"),
        ({"baselines": ["most_active"]}, "needs a ChannelRanking"),
        ({"baselines": ["randon"]}, "Did you mean 'random'"),
        ({"draws": 0}, "`draws`"),
        ({"seed": -1}, "`seed`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"regions": ["middle"]}, "`regions` must be one of"),
        ({"masks": MASKS}, r"must be in \[0, 3\). Received: a label of 3"),
        ({"masks": MASKS[:, :4] % 3}, "of the size that the model gives"),
        ({"masks": None}, "`masks` are needed"),
        ({"masks": MASKS / 2}, "must be class indices, integers"),
        ({"images": IMAGES * np.nan}, "must be finite"),
        ({"images": IMAGES[..., :1]}, "must be of the shape that `model` takes"),
        ({"threshold": 0.5}, "`threshold`"),
    ],
)
def test_bad_arguments_of_a_sweep_are_refused(arguments, message):
    good = {"images": IMAGES, "masks": MASKS % 3, "ranking": range(4), "counts": [1]}
    with pytest.raises(ValueError, match=message):
        ablation_sweep(
            segmentation_net(), **{**good, "latent": "map", "baselines": ["random"], **arguments}
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"regions": ["left"]}, "`regions` of a classifier"),
        ({"ignore_class": 3}, "`ignore_class` is for segmentation"),
        ({"masks": LABELS + 1}, r"integers in \[0, 3\)"),
        ({"masks": None}, "no labels"),
    ],
)
def test_bad_arguments_of_a_classifiers_sweep_are_refused(arguments, message):
    good = {"masks": LABELS, "ranking": range(4), "counts": [1], "baselines": ()}
    with pytest.raises(ValueError, match=message):
        ablation_sweep(classifier(), IMAGES, **{**good, **arguments})


def test_a_network_that_gives_nan_is_refused():
    net = segmentation_net(head=lambda x: x * np.nan)
    with pytest.raises(ValueError, match="`model` must give numbers"):
        ablation_sweep(net, IMAGES, MASKS % 3, range(4), [1], latent="map", baselines=())


def test_a_ranking_of_another_feature_map_is_refused():
    net = segmentation_net()
    ranking = rank_channels(net, IMAGES, latent="early")
    with pytest.raises(ValueError, match=r"has 4 channels.*a ranking of 3 channels"):
        ablation_sweep(net, IMAGES, MASKS % 3, ranking, [1], latent="map")


def test_several_outputs_are_refused_by_a_sweep():
    inputs = keras.Input((8, 12, 2))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 1)(inputs))
    with pytest.raises(ValueError, match="`model` must give one output"):
        ablation_sweep(
            keras.Model(inputs, [pooled, inputs]), IMAGES, LABELS, [0], [1], baselines=()
        )
