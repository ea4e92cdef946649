import keras
import numpy as np
import pytest
from keras import layers

import keras_gappos as kg
from keras_gappos.analysis import feature_consistency
from keras_gappos.analysis.consistency.features import nearest_distance
from keras_gappos.surgery.strides import feature_map_strides

RNG = np.random.default_rng(0)
IMAGES = RNG.random((6, 16, 16, 3), "float32")


def network(pool, inputs_shape=(16, 16, 3)):
    """Two 1x1 convolutions, which move with the image, around a pooling layer."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(inputs_shape)
    x = layers.Conv2D(8, 1, activation="relu", name="before")(inputs)
    x = layers.Conv2D(8, 1, name="after")(pool(x))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def distances(model, **arguments):
    result = feature_consistency(model, IMAGES, max_shift=3, progress=False, **arguments)
    return {layer.layer: (layer.aligned, layer.any_shift) for layer in result.layers}


def test_a_map_on_another_grid_is_compared_with_the_nearest_shift():
    one = RNG.random((2, 6, 6, 3), "float32")
    moved = np.roll(one, (1, -2), (1, 2))
    for offset in ([2, -4], [3, -4], [1, -5], [2, -3]):
        np.testing.assert_array_equal(nearest_distance(one, moved, offset, (2, 2), True), [0, 0])
        assert (nearest_distance(one, moved, offset, (2, 2), False) == 0).all()
    for offset in ([4, -4], [-1, -4], [2, -2]):
        assert (nearest_distance(one, moved, offset, (2, 2), True) > 0.2).all()


def test_the_distance_is_relative_and_only_of_what_both_maps_show():
    one = np.zeros((1, 4, 4, 1), "float32")
    one[0, 1:3, 1:3] = 2.0
    moved = np.zeros_like(one)
    moved[0, 2:4, 1:3] = 1.0
    moved[0, 0] = 7.0  # came in at the border
    # |2 - 1| at four pixels, over the root of the mean of 4 * 4 and 4 * 1.
    expected = np.sqrt(4 * 1) / np.sqrt((4 * 4 + 4 * 1) / 2)
    np.testing.assert_allclose(nearest_distance(one, moved, [1, 0], (1, 1), False), [expected])
    assert nearest_distance(one, moved, [1, 0], (1, 1), True)[0] > expected
    assert nearest_distance(0 * one, 0 * one, [1, 0], (1, 1), True)[0] == 0


def test_subsampling_loses_what_blur_keeps_in_part_and_polyphase_pooling_whole():
    stride = distances(network(layers.MaxPooling2D(1, 2)), fill_mode="wrap")
    blur = distances(network(kg.layers.BlurPool2D(4)), fill_mode="wrap")
    polyphase = distances(network(kg.layers.AdaptivePolyphasePool2D()), fill_mode="wrap")
    for found in (stride, blur, polyphase):
        assert max(found["before"]) < 1e-5
    assert stride["after"][0] < 1e-5 and max(polyphase["after"]) < 1e-5
    assert 0.05 < blur["after"][1] < 0.5 * stride["after"][1]


def test_padding_shows_at_the_border_even_where_strides_divide_the_shift():
    padded = distances(network(layers.Conv2D(8, 5, padding="same")), fill_mode="wrap")
    assert min(padded["after"]) > 0.05
    # Beyond the border, nothing is compared.
    assert max(distances(network(layers.MaxPooling2D(1, 1)))["after"]) < 1e-5


def test_the_strides_of_each_layer_are_those_of_the_way_to_it():
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(4, 3, (2, 1), "valid", name="conv")(inputs)
    up = layers.UpSampling2D((2, 1), name="up")(x)
    inner = keras.Sequential([keras.Input((15, 30, 4)), layers.MaxPooling2D(2, name="pool")])
    x = inner(x)
    out = layers.Conv2DTranspose(4, 3, 2, name="transposed")(x)
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name="one_pixel")(out)
    resized = layers.Resizing(8, 8, name="resized")(out)
    model = keras.Model(inputs, [up, pooled, layers.Conv2D(2, 1, name="later")(resized)])
    strides = {layer.name: strides for layer, strides in feature_map_strides(model)}
    assert strides == {"conv": (2, 1), "up": (1, 1), "pool": (4, 2), "transposed": (2, 1)}


def test_a_layer_of_a_nested_backbone_is_measured_as_in_the_backbone_alone():
    backbone = kg.models.resnet(18, (16, 16, 3), 3, width=2)
    prepared = keras.Sequential([keras.Input((16, 16, 3)), layers.Rescaling(1.0), backbone])
    arguments = {"layers": ["stage2_block2_relu2"], "seed": 3}
    expected = distances(backbone, **arguments)
    assert expected["stage2_block2_relu2"][1] > 0.01
    (nested,) = distances(prepared, **arguments).values()
    assert nested == pytest.approx(*expected.values(), abs=1e-5)


def test_batches_do_not_matter_and_images_may_come_in_a_stream():
    model = network(layers.MaxPooling2D(2))
    expected = distances(model)
    assert distances(model, batch_size=4) == {k: pytest.approx(v) for k, v in expected.items()}
    stream = feature_consistency(model, iter([IMAGES[:4], IMAGES[4:]]), max_shift=3)
    assert stream.num_images == 6
    assert stream.layers[0].any_shift == pytest.approx(expected["before"][1], abs=1e-6)


def test_the_result_is_drawn_over_depth_and_written_as_rows():
    result = feature_consistency(network(layers.MaxPooling2D(2)), IMAGES, max_shift=3)
    ax = result.plot(label="one")
    result.plot(ax, label="other")
    assert [line.get_label() for line in ax.lines] == ["one", "other"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", "other"]
    values = [row["any_shift"] for row in result.to_rows()]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), values)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": ["befor"]}, "Did you mean 'before'"),
        ({"layers": ["dense"]}, "must output feature maps .*'dense'"),
        ({"layers": []}, "`layers` must name one or more"),
        ({"max_shift": 16}, "`max_shift` must be smaller than the images, 16x16"),
        ({"max_shift": 0}, "`max_shift` must be an integer of at least 1"),
        ({"shifts": 0}, "`shifts` must be an integer of at least 1"),
        ({"fill_mode": "mirror"}, "`fill_mode` must be one of"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 1, name="before")(inputs)
    model = keras.Model(inputs, layers.Dense(2, name="dense")(layers.GlobalMaxPooling2D()(x)))
    with pytest.raises(ValueError, match=message):
        feature_consistency(model, IMAGES, **arguments)


def test_a_model_without_feature_maps_is_named():
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten(), layers.Dense(2)])
    with pytest.raises(ValueError, match="must have a layer that outputs a feature map"):
        feature_consistency(model, IMAGES)
