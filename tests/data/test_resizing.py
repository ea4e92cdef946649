import numpy as np
import pytest

from keras_gappos.data import load
from keras_gappos.data.resizing import resize_image, resize_mask

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (9, 14, 3)).astype("uint8")
MASK = RNG.integers(0, 12, (9, 14)).astype("uint8")


def row(*values):
    return np.array(values, "uint8")[None, :, None]


def test_growing_interpolates_between_the_centers_of_pixels():
    # New centers at 1/4, 3/4, 5/4, 7/4 of old pixels whose centers are at 1/2 and 3/2.
    assert resize_image(row(0, 200), (1, 4)).flatten().tolist() == [0, 50, 150, 200]
    np.testing.assert_array_equal(resize_image(IMAGE, (9, 14)), IMAGE)


def test_shrinking_smooths_with_a_triangle_as_wide_as_two_new_pixels():
    # To half the size: center at 1, distances 1/2, 1/2, 3/2 of a half-width of 2.
    weights = np.array([0.75, 0.75, 0.25]) / 1.75
    smoothed = resize_image(row(10, 90, 250, 40), (1, 2)).flatten()
    expected = [weights @ [10, 90, 250], weights @ [40, 250, 90]]
    np.testing.assert_allclose(smoothed, expected, atol=1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_channels_do_not_mix(channels):
    image = RNG.integers(0, 256, (9, 14, channels)).astype("uint8")
    resized = resize_image(image, (5, 20))
    assert resized.shape == (5, 20, channels)
    for c in range(channels):
        np.testing.assert_array_equal(resized[..., [c]], resize_image(image[..., [c]], (5, 20)))


@pytest.mark.parametrize(
    "new, expected",
    [
        (1, [4]),
        (2, [2, 5]),
        (3, [2, 4, 6]),
        (4, [1, 3, 4, 6]),
        (12, [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]),
    ],
)
def test_masks_take_the_pixel_that_the_new_center_lies_in(new, expected):
    # Centres at (i + 1/2) 6 / n, counted from 0; on a border the pixel after it.
    mask = np.arange(1, 7)
    assert resize_mask(mask[None], (1, new))[0].tolist() == expected
    assert resize_mask(mask[:, None], (new, 1))[:, 0].tolist() == expected


def test_masks_keep_their_labels_and_dtype():
    resized = resize_mask(MASK, (31, 5))
    assert (resized.shape, resized.dtype) == ((31, 5), "uint8")
    assert set(resized.flat) <= set(MASK.flat)


@pytest.mark.parametrize("size", [(18, 28), (27, 42)])
def test_image_and_mask_stay_on_one_another(size):
    image = np.kron(RNG.integers(0, 2, (4, 5)), np.ones((6, 6))).astype("uint8")
    smooth = resize_image(image[..., None] * 255, size)[..., 0]
    assert ((smooth > 127) == resize_mask(image, size)).mean() > 0.93


@pytest.mark.parametrize("size", [(18, 28), (6, 7)])
def test_a_part_looks_as_it_does_in_the_whole(size):
    whole, part = resize_image(IMAGE, size), (slice(2, 5), slice(1, 6))
    high, wide = 9 / size[0], 14 / size[1]
    box = (2 * high, 1 * wide, 5 * high, 6 * wide)
    np.testing.assert_allclose(resize_image(IMAGE, (3, 5), box), whole[part].astype(int), atol=1)
    np.testing.assert_array_equal(resize_mask(MASK, (3, 5), box), resize_mask(MASK, size)[part])


def test_sets_are_resized_while_they_are_loaded():
    images, labels = load("digits", "test", limit=3, size=(16, 12))
    assert images.shape == (3, 16, 12, 1)
    whole, all_labels = load("digits", "test", limit=3)
    np.testing.assert_array_equal(images[1], resize_image(whole[1], (16, 12)))
    np.testing.assert_array_equal(labels, all_labels)
    images, masks = load("shapes", "test", limit=2, size=(32, 48))
    whole, all_masks = load("shapes", "test", limit=2)
    np.testing.assert_array_equal(images[1], resize_image(whole[1], (32, 48)))
    # At half the size a new center lies on a corner: the pixel below and to the right of it.
    np.testing.assert_array_equal(masks, all_masks[:, 1::2, 1::2])


@pytest.mark.parametrize("size", [32, (32,), (0, 32), (32, 4.5), "ab"])
def test_a_size_that_is_none_is_rejected(size):
    with pytest.raises(ValueError, match="`size"):
        load("shapes", "test", size=size)
