import os

import numpy as np
import pytest

from keras_gappos.data import SegmentationInfo, load, segmentation_info
from keras_gappos.data.segmentation_sets import plain_name

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 6, 8, 3)).astype("uint8")
MASKS = RNG.integers(0, 12, (4, 6, 8)).astype("uint8")


def store_masks(folder, images, masks, name="tiny_masks", config=None, image="image"):
    """Writes images and masks as TFDS prepares them; each image has a label 'kind', too."""
    import tensorflow_datasets as tfds

    features = {
        image: tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
        "segmentation_label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
        "kind": tfds.features.ClassLabel(num_classes=4),
        "image_id": tfds.features.Text(),
    }
    examples = [
        {image: one, "segmentation_label": mask[..., None], "kind": i, "image_id": str(i)}
        for i, (one, mask) in enumerate(zip(images, masks))
    ]
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        config=config,
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": enumerate(examples)},
        data_dir=folder,
        disable_shuffling=True,
    )
    return os.fspath(folder)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return store_masks(tmp_path_factory.mktemp("tfds"), IMAGES, MASKS)


@pytest.mark.tensorflow
def test_masks_are_read_by_name_and_by_folder(data_dir):
    folder = os.path.join(data_dir, "tiny_masks", "1.0.0")
    for images, masks in [load("tiny_masks", "train", data_dir), load(folder, "train")]:
        assert (images.dtype, masks.dtype) == ("uint8", "uint8")
        np.testing.assert_array_equal(images, IMAGES)
        np.testing.assert_array_equal(masks, MASKS)
    images, masks = load(folder, "train[1:]", limit=2, size=(3, 4))
    assert images.shape == (2, 3, 4, 3)
    np.testing.assert_array_equal(masks, MASKS[1:3, 1::2, 1::2])


@pytest.mark.tensorflow
def test_what_is_given_beside_the_images_can_be_named(data_dir):
    images, labels = load("tiny_masks", "train", data_dir, target="kind")
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, range(4))
    with pytest.raises(ValueError, match=r"'image', of uint8, and 'depth'.*Received: 'tiny_masks'"):
        load("tiny_masks", "train", data_dir, target="depth")


@pytest.mark.tensorflow
def test_images_of_several_sizes_load_when_they_are_resized(tmp_path):
    images, masks = [IMAGES[0], IMAGES[1, :4]], [MASKS[0], MASKS[1, :4]]
    store_masks(tmp_path, images, masks)
    with pytest.raises(ValueError, match=r"images of one size; otherwise set `size`.*4, 8, 3"):
        load("tiny_masks", "train", tmp_path)
    assert load("tiny_masks", "train", tmp_path, size=(4, 4))[1].shape == (2, 4, 4)


@pytest.mark.tensorflow
def test_masks_of_another_size_than_their_images_are_rejected(tmp_path):
    store_masks(tmp_path, IMAGES, MASKS[:, :5])
    with pytest.raises(ValueError, match=r"masks have the same size as their images.*\(5, 8\)"):
        load("tiny_masks", "train", tmp_path)


@pytest.mark.tensorflow
def test_cityscapes_come_with_the_classes_that_count(tmp_path):
    # 7 road, 33 bicycle, 0 unlabeled, 255 license plate, 11 building, 9 parking.
    labels = np.array([[7, 33, 0], [255, 11, 9]], "uint8")
    config = "semantic_segmentation"
    store_masks(tmp_path, IMAGES[:1, :2, :3], labels[None], "cityscapes", config, "image_left")
    images, masks = load("cityscapes", "train", tmp_path)
    np.testing.assert_array_equal(images, IMAGES[:1, :2, :3])
    np.testing.assert_array_equal(masks, [[[0, 18, 19], [19, 2, 19]]])
    folder = tmp_path / "cityscapes" / config / "1.0.0"
    np.testing.assert_array_equal(load(folder, "train")[1], masks)
    assert segmentation_info(folder) == segmentation_info("cityscapes")


@pytest.mark.tensorflow
def test_a_set_that_must_be_downloaded_by_hand_says_how(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'cityscapes' is not in .*Three ways to get it"):
        load("cityscapes", "train", tmp_path)


@pytest.mark.tensorflow
def test_a_folder_without_a_prepared_set_is_named(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match=r"'dataset_info.json' that TFDS writes") as e:
            load(folder, "train")
        assert repr(os.fspath(folder)) in str(e.value)


@pytest.mark.parametrize("name, classes", [("shapes", 7), ("camvid", 11), ("cityscapes", 19)])
def test_known_sets_have_a_name_and_a_color_for_each_class(name, classes):
    info = segmentation_info(name)
    assert info.num_classes == classes == info.ignore_class
    assert len(set(info.class_names)) == len(set(info.colors)) == classes
    assert all(len(color) == 3 and 0 <= min(color) <= max(color) <= 255 for color in info.colors)
    assert segmentation_info(f"{name}/semantic_segmentation:1.0.0") is info


def test_masks_are_painted_in_their_colors_and_ignored_ones_black():
    info = segmentation_info("camvid")
    painted = info.paint([[0, 3], [11, 10]])
    assert painted.dtype == "uint8"
    assert painted.tolist() == [
        [list(info.colors[0]), list(info.colors[3])],
        [[0, 0, 0], list(info.colors[10])],
    ]
    mine = SegmentationInfo(2, ("no", "yes"), ((9, 9, 9), (255, 0, 0)), ignore_class=None)
    assert mine.paint(np.array([1, 0, -1]))[:, 0].tolist() == [255, 9, 0]


def test_for_an_unknown_set_the_nearest_is_named():
    with pytest.raises(ValueError, match=r"create a SegmentationInfo.*Did you mean 'camvid'\?"):
        segmentation_info("camvit")


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("cifar10", "cifar10"),
        ("cifar10/plain:3.0.2", "cifar10"),
        ("cifar10:3.*.*", "cifar10"),
        ("/nowhere/cifar10/3.0.2", "cifar10"),
        ("~/nowhere/shapes", "shapes"),
        ("./nowhere/shapes", "shapes"),
    ],
)
def test_a_name_says_its_data_set_wherever_its_folder_is(name, plain):
    assert plain_name(name) == plain
