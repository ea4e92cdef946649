import keras
import numpy as np
import pytest
from keras import layers

from keras_gappos.analysis import segmentation_consistency, shift_consistency
from keras_gappos.analysis.consistency.segmentation import pixel_agreement
from keras_gappos.layers import shift_images

IMAGES = np.random.default_rng(0).random((5, 12, 10, 3), "float32")


def pixelwise(classes=4):
    """A 1x1 convolution, which sees nothing but the pixel itself."""
    inputs = keras.Input((12, 10, 3))
    kernel = np.random.default_rng(1).normal(size=(1, 1, 3, classes))
    convolution = layers.Conv2D(classes, 1, use_bias=False)
    model = keras.Model(inputs, convolution(inputs))
    convolution.set_weights([kernel])
    return model


class Columns(layers.Layer):
    """Logits that say in which column a pixel of the frame is, whatever the image."""

    def call(self, images):
        frame = keras.ops.eye(10)[None, None]
        return frame + 0 * keras.ops.mean(images, axis=-1, keepdims=True)


def absolute():
    inputs = keras.Input((12, 10, 3))
    return keras.Model(inputs, Columns()(inputs))


@pytest.mark.parametrize("border", [0, 2])
@pytest.mark.parametrize("fill_mode", ["constant", "wrap"])
def test_a_network_that_sees_single_pixels_is_consistent(border, fill_mode):
    result = segmentation_consistency(
        pixelwise(), IMAGES, max_shift=2, border=border, fill_mode=fill_mode
    )
    assert (result.consistency, result.stderr, result.num_images) == (100, 0, 5)
    assert result.num_predicted_classes > 1


def test_a_network_that_knows_the_place_agrees_where_both_shifts_are_in_one_column():
    result = segmentation_consistency(absolute(), IMAGES, max_shift=2, pairs=400)
    # Two of 5 offsets are the same with probability 1/5: 2,000 pairs, a standard error of 0.9.
    assert result.consistency == pytest.approx(20, abs=3.6)


def test_it_is_what_a_loop_over_images_pairs_and_pixels_counts():
    inputs = keras.Input((12, 10, 3))
    keras.utils.set_random_seed(0)
    model = keras.Model(inputs, layers.Conv2D(3, 3, padding="same")(inputs))
    result = segmentation_consistency(model, IMAGES, max_shift=2, border=1, pairs=2, seed=3)
    offsets = np.random.default_rng(3).integers(-2, 3, (5, 4, 2))
    scores = []
    for image, views in zip(IMAGES, offsets):
        shifted = shift_images(np.repeat(image[None], 4, axis=0), views)
        classes = keras.ops.convert_to_numpy(model(shifted)).argmax(-1)
        for a in (0, 2):
            agree = []
            for y, x in np.ndindex(12, 10):
                places = [(y + down, x + right) for down, right in views[a : a + 2]]
                if all(1 <= row < 11 and 1 <= column < 9 for row, column in places):
                    agree.append(classes[a][places[0]] == classes[a + 1][places[1]])
            scores.append(np.mean(agree))
    by_image = 100 * np.reshape(scores, (5, 2)).mean(axis=1)
    assert result.consistency == pytest.approx(by_image.mean())
    assert result.stderr == pytest.approx(by_image.std(ddof=1) / np.sqrt(5))
    small = segmentation_consistency(
        model, IMAGES, max_shift=2, border=1, pairs=2, seed=3, batch_size=2
    )
    assert small.consistency == pytest.approx(result.consistency)


def test_pixels_are_compared_where_both_shifts_show_them():
    one = np.array([[[1, 2, 3], [4, 5, 6]]])
    other = np.array([[[9, 9, 9], [0, 1, 7]]])  # down by 1, right by 1
    offsets = np.array([[0, 0]]), np.array([[1, 1]])
    assert pixel_agreement((one, other), offsets).tolist() == [0.5]  # 1 and 1, 2 and 7


def test_a_single_output_needs_a_threshold_and_one_class_warns():
    inputs = keras.Input((12, 10, 3))
    model = keras.Model(inputs, layers.Conv2D(1, 1)(inputs))
    with pytest.raises(ValueError, match="`threshold` is needed"):
        segmentation_consistency(model, IMAGES)
    with pytest.warns(UserWarning, match="the same class of every pixel on all 5 images"):
        result = segmentation_consistency(model, IMAGES, max_shift=1, threshold=1e6)
    assert result.num_predicted_classes == 1


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"must be below 10\. Received: border=3, max_shift=2"):
        segmentation_consistency(pixelwise(), IMAGES, max_shift=2, border=3)
    with pytest.raises(ValueError, match="`border` must be"):
        segmentation_consistency(pixelwise(), IMAGES, border=-1)
    inputs = keras.Input((12, 10, 3))
    halved = keras.Model(inputs, layers.Conv2D(4, 3, strides=2, padding="same")(inputs))
    with pytest.raises(ValueError, match="classes for each pixel of `images`"):
        segmentation_consistency(halved, IMAGES, max_shift=1)


def test_shift_consistency_names_the_function_for_segmentation():
    with pytest.raises(ValueError, match=r"use `analysis\.segmentation_consistency`"):
        shift_consistency(pixelwise(), IMAGES)
