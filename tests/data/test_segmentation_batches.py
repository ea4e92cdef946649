import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_gappos.data import SegmentationBatches
from keras_gappos.data.segmentation_batches import crop_scaled, scaled_size

RNG = np.random.default_rng(0)
# The mask of each pixel can be read off its color, whatever is done to both.
MASKS = RNG.integers(0, 5, (12, 10, 14)).astype("uint8")
IMAGES = (50 * MASKS[..., None] + [0, 1, 2]).astype("uint8")
IGNORED, FILL = 5, (250, 251, 252)


def batches(batch_size=4, seed=0, **settings):
    return SegmentationBatches(IMAGES, MASKS, batch_size, seed, **settings)


def epoch(batches, number):
    batches.start_epoch(number)
    images, masks = zip(*(batches[i] for i in range(len(batches))))
    return np.concatenate(images), np.concatenate(masks)


def assert_image_fits_mask(images, masks):
    np.testing.assert_allclose(images * 255, 50 * masks[..., None] + [0, 1, 2], atol=1e-4)


def test_without_changes_the_images_are_those_given_in_another_order():
    images, masks = epoch(batches(), 0)
    assert (images.dtype, masks.dtype) == ("float32", "int32")
    assert_image_fits_mask(images, masks)
    given, seen = ({mask.astype("uint8").tobytes() for mask in part} for part in (MASKS, masks))
    assert given == seen
    assert (masks != MASKS).any()


def test_crops_and_flips_move_image_and_mask_together():
    settings = {"size": (6, 7), "flip": True}
    images, masks = epoch(batches(**settings), 0)
    assert images.shape == (12, 6, 7, 3)
    assert_image_fits_mask(images, masks)
    windows = np.lib.stride_tricks.sliding_window_view(MASKS, (6, 7), axis=(1, 2))
    for mask in masks:
        plain, mirrored = ((windows == m).all((-2, -1)).any() for m in (mask, mask[:, ::-1]))
        assert plain or mirrored
    assert 0 < sum((windows == m).all((-2, -1)).any() for m in masks) < 12


def test_outside_of_images_that_are_smaller_is_fill_and_void():
    images, masks = epoch(batches(size=(12, 20), ignore_class=IGNORED, fill=FILL), 0)
    assert_image_fits_mask(images, masks)
    assert ((masks == IGNORED).sum((1, 2)) == 12 * 20 - 10 * 14).all()
    corners = {tuple(np.argwhere(mask != IGNORED)[0]) for mask in masks}
    assert len(corners) > 4
    assert max(corners) <= (2, 6)


def test_the_fill_is_the_mean_color_unless_given():
    images, masks = epoch(batches(size=(12, 14), ignore_class=IGNORED), 0)
    mean = np.round(IMAGES.mean((0, 1, 2)))
    np.testing.assert_allclose(
        images[masks == IGNORED] * 255, np.tile(mean, (12 * 28, 1)), atol=1e-4
    )


@settings(deadline=None, max_examples=30)
@given(
    st.floats(0.3, 2.5),
    st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_a_crop_is_a_part_of_the_scaled_image_or_holds_all_of_it(scale, corner, size):
    image, mask = crop_scaled(IMAGES[0], MASKS[0], scale, corner, size, FILL, IGNORED)
    assert (image.shape, mask.shape) == ((*size, 3), size)
    whole = scaled_size((10, 14), scale)
    inside = tuple(min(have, want) for have, want in zip(whole, size))
    assert (mask != IGNORED).sum() == np.prod(inside)
    assert (image[mask == IGNORED] == FILL).all()
    all_of_it, all_masks = crop_scaled(IMAGES[0], MASKS[0], scale, (0, 0), whole, FILL, IGNORED)
    assert set(mask.flat) <= {*all_masks.flat, IGNORED}
    places = [int(place * (abs(a - b) + 1)) for place, a, b in zip(corner, whole, size)]
    part = tuple(
        slice(place, place + n) if have > want else slice(0, n)
        for place, n, have, want in zip(places, inside, whole, size)
    )
    mine = tuple(
        slice(0, n) if have > want else slice(place, place + n)
        for place, n, have, want in zip(places, inside, whole, size)
    )
    np.testing.assert_allclose(image[mine], all_of_it[part].astype(int), atol=1)
    np.testing.assert_array_equal(mask[mine], all_masks[part])


def test_scales_are_spread_over_their_range():
    one_dot = np.zeros((40, 20, 20), "uint8")
    one_dot[:, 5:15, 5:15] = 1
    images = np.repeat(one_dot[..., None], 3, axis=-1)
    scaled = SegmentationBatches(images, one_dot, 40, 0, scale=(0.5, 1.5), ignore_class=2)
    scales = np.sqrt((scaled[0][1] == 1).sum((1, 2))) / 10
    assert 0.45 < scales.min() < 0.65
    assert 1.35 < scales.max() < 1.55
    assert 0.85 < scales.mean() < 1.15


def test_an_epoch_depends_on_seed_and_number_alone():
    settings = {"size": (6, 7), "scale": (0.5, 2.0), "flip": True, "ignore_class": IGNORED}
    one, other = batches(seed=1, **settings), batches(seed=1, **settings)
    epoch(one, 0)
    epoch(one, 1)
    for mine, others in zip(epoch(one, 2), epoch(other, 2)):
        np.testing.assert_array_equal(mine, others)
    assert (epoch(one, 2)[1] != epoch(one, 3)[1]).any()
    assert (epoch(one, 2)[1] != epoch(batches(seed=2, **settings), 2)[1]).any()


def test_the_arrays_given_are_left_as_they_are():
    before = IMAGES.copy(), MASKS.copy()
    epoch(batches(flip=True, scale=(1, 2)), 0)
    for old, new in zip(before, (IMAGES, MASKS)):
        np.testing.assert_array_equal(old, new)


def test_what_does_not_fill_a_batch_is_left_out():
    assert len(batches(batch_size=5)) == 2
    assert epoch(batches(batch_size=5), 0)[0].shape == (10, 10, 14, 3)


@pytest.mark.parametrize("first", [0, 2])
def test_fit_sees_the_epochs_that_it_counts(first):
    seen = []

    class Watched(SegmentationBatches):
        def start_epoch(self, epoch):
            seen.append(epoch)
            super().start_epoch(epoch)

    watched = Watched(IMAGES, MASKS, 6, 0, flip=True)
    model = keras.Sequential([keras.Input((10, 14, 3)), keras.layers.Conv2D(5, 1)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    settings = {"callbacks": [watched.callback], "shuffle": False, "verbose": 0}
    model.fit(watched, initial_epoch=first, epochs=3, **settings)
    assert seen[1:] == list(range(first, 3))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"images": IMAGES / 255}, "`images` must be uint8 of shape.*float64"),
        ({"images": IMAGES[0]}, "`images` must be uint8 of shape"),
        ({"images": IMAGES[:0], "masks": MASKS[:0]}, "There are no images"),
        ({"masks": MASKS[:, :9]}, r"`masks` must be integers of shape \(12, 10, 14\).*12, 9, 14"),
        ({"masks": MASKS / 1}, "`masks` must be integers.*float64"),
        ({"batch_size": 13}, r"`batch_size` must be an integer in \[1, 13\)"),
        ({"seed": -1}, "`seed` must be an integer of at least 0"),
        ({"size": 4}, r"`size` must be \(height, width\)"),
        ({"scale": (2, 1)}, r"`scale` must be .*scale=\(2, 1\)"),
        ({"scale": 0.5}, "`scale` must be"),
        ({"scale": (0.5, 1)}, r"`ignore_class` is needed: scaled by 0.5, an image is \(5, 7\)"),
        ({"size": (11, 4)}, "`ignore_class` is needed"),
        ({"ignore_class": -1}, "`ignore_class` must be an integer of at least 0"),
        ({"fill": (0, 0)}, r"`fill` must be 3 values in \[0, 255\]"),
        ({"fill": (0, 0, 256)}, "`fill` must be"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    good = {"images": IMAGES, "masks": MASKS, "batch_size": 4, "seed": 0}
    with pytest.raises(ValueError, match=message):
        SegmentationBatches(**{**good, **changes})
