import os
import time

import numpy as np
import pytest

from keras_gappos.data import load

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3)).astype("uint8")
LABELS = np.array([0, 2, 1, 1, 0, 2])


@pytest.mark.parametrize("split, size", [("train", 1397), ("test", 400)])
def test_digits_are_small_grey_images_with_their_labels(split, size):
    images, labels = load("digits", split)
    assert (images.shape, images.dtype) == ((size, 8, 8, 1), "uint8")
    assert (labels.shape, labels.dtype) == ((size,), "int64")
    assert (images.min(), images.max()) == (0, 255)
    # All ten, none of them rare.
    assert np.bincount(labels, minlength=10).min() > size / 20
    assert len(np.bincount(labels)) == 10


def test_digits_are_those_of_scikit_learn_and_no_image_is_in_both_splits():
    from sklearn.datasets import load_digits

    (train, train_labels), (test, test_labels) = load("digits", "train"), load("digits", "test")
    source = load_digits()
    np.testing.assert_array_equal(np.concatenate([train_labels, test_labels]), source.target)
    both = np.concatenate([train, test])[..., 0]
    np.testing.assert_allclose(both / 255, source.images / 16, atol=0.5 / 255)
    assert not {image.tobytes() for image in train} & {image.tobytes() for image in test}


def test_digits_come_in_the_same_order_each_time():
    for one, other in zip(load("digits", "train"), load("digits", "train"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_limit_keeps_the_first_images():
    images, labels = load("digits", "train", limit=7)
    all_images, all_labels = load("digits", "train")
    np.testing.assert_array_equal(images, all_images[:7])
    np.testing.assert_array_equal(labels, all_labels[:7])
    assert len(load("digits", "test", limit=10_000)[0]) == 400


@pytest.mark.parametrize("limit", [0, -5])
@pytest.mark.parametrize("name", ["digits", "cifar10"])
def test_a_limit_below_1_is_rejected(name, limit):
    message = f"`limit` must be an integer of at least 1. Received: limit={limit}"
    with pytest.raises(ValueError, match=message):
        load(name, "train", limit=limit)


def test_a_split_that_digits_have_not_is_rejected():
    with pytest.raises(ValueError, match=r"`split` of 'digits' must be 'train' or 'test'.*'all'"):
        load("digits", "all")


def store_tfds(folder, images, labels=None, name="tiny_set", feature="label"):
    """Writes a data set as TFDS prepares them: 'train' all images, 'test' the first two."""
    import tensorflow_datasets as tfds

    features = {"image": tfds.features.Image(shape=(None, None, 3))}
    examples = [{"image": image} for image in images]
    if labels is not None:
        features[feature] = tfds.features.ClassLabel(num_classes=3)
        examples = [{**one, feature: int(label)} for one, label in zip(examples, labels)]
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": enumerate(examples), "test": enumerate(examples[:2])},
        data_dir=folder,
        disable_shuffling=True,
    )
    return os.fspath(folder)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return store_tfds(tmp_path_factory.mktemp("tfds"), IMAGES, LABELS)


@pytest.fixture
def offline(monkeypatch):
    import requests

    def fail(*args, **kwargs):
        raise requests.ConnectionError("no network in this test")

    monkeypatch.setattr(requests, "head", fail)
    monkeypatch.setattr(requests.Session, "request", fail)


@pytest.mark.tensorflow
def test_a_set_that_tfds_prepared_is_read_by_name(data_dir):
    images, labels = load("tiny_set", "train", data_dir)
    assert (images.dtype, labels.dtype) == ("uint8", "int64")
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "split, limit, kept",
    [("test", None, [0, 1]), ("train[:50%]", None, [0, 1, 2]), ("train[2:]", 2, [2, 3])],
)
def test_splits_may_be_expressions_of_tfds(data_dir, split, limit, kept):
    images, labels = load("tiny_set", split, data_dir, limit)
    np.testing.assert_array_equal(images, IMAGES[kept])
    np.testing.assert_array_equal(labels, LABELS[kept])


@pytest.mark.tensorflow
def test_the_home_folder_may_be_written_as_a_tilde(data_dir, monkeypatch):
    monkeypatch.setenv("HOME", data_dir)
    assert len(load("tiny_set", "test", "~")[0]) == 2


@pytest.mark.tensorflow
@pytest.mark.parametrize("split", ["validation", "train[", "train+dev", "train[:0]"])
def test_a_split_that_the_set_has_not_or_that_is_empty_is_rejected(data_dir, split):
    with pytest.raises(
        ValueError, match=r"`split` must be one of \['test', 'train'\] of 'tiny"
    ) as e:
        load("tiny_set", split, data_dir)
    assert f"split={split!r}" in str(e.value)


@pytest.mark.tensorflow
def test_images_of_several_sizes_are_rejected(tmp_path):
    store_tfds(tmp_path, [IMAGES[0], IMAGES[1][:3]], [0, 1])
    with pytest.raises(ValueError, match=r"images of one size.*'tiny_set'.*3, 5, 3") as error:
        load("tiny_set", "train", tmp_path)
    assert "4, 5, 3" in str(error.value)


@pytest.mark.tensorflow
@pytest.mark.parametrize("labels, feature", [(None, "label"), (LABELS, "kind")])
def test_a_set_without_labels_is_rejected(tmp_path, labels, feature):
    store_tfds(tmp_path, IMAGES, labels, feature=feature)
    with pytest.raises(
        ValueError, match=r"features 'image', of uint8, and 'label'.*'tiny_set' with .*'image'"
    ):
        load("tiny_set", "train", tmp_path)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name, nearest", [("cifar01", "cifar10"), ("digit", "digits")])
def test_for_an_unknown_name_the_nearest_is_named(tmp_path, offline, name, nearest):
    message = f"data set of TensorFlow Datasets. .*name='{name}'. Did you mean '{nearest}'?"
    with pytest.raises(ValueError, match=message):
        load(name, "train", tmp_path)


@pytest.mark.tensorflow
def test_a_folder_that_is_not_there_is_named(tmp_path):
    missing = os.fspath(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match=f"`data_dir` must be a folder.*{missing}"):
        load("cifar10", "train", missing)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist"])
def test_an_absent_set_without_network_fails_in_seconds_and_says_how_to_get_it(
    tmp_path, offline, name
):
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as error:
        load(name, "train", tmp_path)
    assert time.monotonic() - start < 10
    message = str(error.value)
    assert message.startswith(f"'{name}' is not in {tmp_path}")
    assert "ConnectionError" in message
    assert "(1) run this again with a network" in message
    assert f"(2) prepare it on another machine with `tfds build {name}`" in message
    assert "(3) use 'digits'" in message
    assert not (tmp_path / name).exists()


@pytest.mark.tensorflow
@pytest.mark.parametrize("status", [407, 503])
def test_a_source_that_answers_with_an_error_is_out_of_reach(tmp_path, monkeypatch, status):
    import requests

    answer = requests.Response()
    answer.status_code = status
    monkeypatch.setattr(requests, "head", lambda *_, **__: answer)
    with pytest.raises(
        FileNotFoundError, match=rf"cannot be downloaded \(HTTPError: {status}.*Three"
    ):
        load("mnist", "train", tmp_path)


@pytest.mark.parametrize("name", [3, ""])
def test_a_name_that_is_none_is_rejected(name):
    with pytest.raises(ValueError, match=r"`name` must be the name of a data set"):
        load(name, "train")
