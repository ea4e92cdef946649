import numpy as np
import pytest
from scipy import ndimage

from keras_gappos.data import load, segmentation_info
from keras_gappos.data.shapes import CIRCLE, CROSS, GROUND, HEIGHT, SQUARE, TRIANGLE, WIDTH

MIDDLE = WIDTH // 2


@pytest.fixture(scope="module")
def train():
    return load("shapes", "train")


@pytest.fixture(scope="module")
def pieces(train):
    """Of each shape in the training images: class, column of its center, area, mean color."""
    found = []
    for image, mask in zip(*train):
        parts, _ = ndimage.label(mask != GROUND)
        for index, where in enumerate(ndimage.find_objects(parts), start=1):
            inside = parts[where] == index
            labels = set(mask[where][inside])
            assert len(labels) == 1, "two shapes touch"
            rows, columns = np.nonzero(parts == index)
            assert columns.max() < MIDDLE or columns.min() >= MIDDLE, "over the middle"
            found.append((labels.pop(), columns.mean(), len(rows), *image[where][inside].mean(0)))
    return np.array(found)


@pytest.mark.parametrize("split, size", [("train", 400), ("test", 100)])
def test_masks_have_the_classes_of_the_info(split, size):
    images, masks = load("shapes", split)
    assert (images.shape, images.dtype) == ((size, HEIGHT, WIDTH, 3), "uint8")
    assert (masks.shape, masks.dtype) == ((size, HEIGHT, WIDTH), "uint8")
    info = segmentation_info("shapes")
    counts = np.bincount(masks.ravel())
    assert len(counts) == info.num_classes == len(set(info.colors))
    assert counts.min() > 0.005 * masks.size
    assert info.ignore_class == info.num_classes
    names = ["ground", "circle", "square", "left triangle", "right triangle"]
    order = [GROUND, CIRCLE, SQUARE, *TRIANGLE]
    assert [info.class_names[c] for c in order] == names


def test_images_are_the_same_at_each_call_and_limit_keeps_the_first(train):
    for all_of_them, first in zip(train, load("shapes", "train", limit=7)):
        np.testing.assert_array_equal(all_of_them[:7], first)
    assert len(load("shapes", "test", limit=1000)[0]) == 100


def test_no_image_is_twice_there(train):
    images = [image.tobytes() for part in (train[0], load("shapes", "test")[0]) for image in part]
    assert len(set(images)) == 500


def test_the_side_alone_decides_between_classes_of_position(pieces):
    labels, left = pieces[:, 0], pieces[:, 1] < MIDDLE
    for pair in (TRIANGLE, CROSS):
        assert left[labels == pair[0]].all()
        assert not left[labels == pair[1]].any()
    for label in (CIRCLE, SQUARE):
        assert 0.4 < left[labels == label].mean() < 0.6


@pytest.mark.parametrize("pair", [TRIANGLE, CROSS])
def test_area_and_color_do_not_tell_the_sides_apart(pieces, pair):
    left, right = (pieces[pieces[:, 0] == label][:, 2:] for label in pair)
    error = np.sqrt(left.var(0) / len(left) + right.var(0) / len(right))
    assert min(len(left), len(right)) > 100
    assert (np.abs(left.mean(0) - right.mean(0)) < 3.5 * error).all()


def test_the_ground_looks_the_same_in_both_halves(train):
    images, masks = train
    ground = np.where(masks[..., None] == GROUND, images, np.nan).reshape(400, HEIGHT, 2, -1, 3)
    means, spreads = np.nanmean(ground, axis=(1, 3)), np.nanstd(ground, axis=(1, 3))
    for values in (means, spreads):
        difference = values[:, 0] - values[:, 1]
        error = difference.std(0) / np.sqrt(400)
        assert (np.abs(difference.mean(0)) < 3.5 * error).all()


def test_shapes_stand_out_from_the_ground(train):
    images, masks = train
    assert images[masks != GROUND].mean() > images[masks == GROUND].mean() + 80


def test_a_split_that_is_none_is_rejected():
    with pytest.raises(ValueError, match=r"`split` of 'shapes' must be 'train' or 'test'.*'dev'"):
        load("shapes", "dev")


def test_whoever_asks_for_labels_gets_no_masks():
    with pytest.raises(ValueError, match="`target` of 'shapes' must be 'segmentation_label'"):
        load("shapes", "test", target="label")
    assert load("shapes", "test", limit=2, target="segmentation_label")[1].ndim == 3
    assert load("digits", "test", limit=2, target="label")[1].shape == (2,)
