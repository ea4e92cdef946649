import keras
import numpy as np
import pytest

from keras_gappos.analysis.batches import count_batches, iterate_batches

IMAGES = np.arange(5 * 2 * 3, dtype="float32").reshape(5, 2, 3, 1)
LABELS = np.arange(5)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        part = slice(2 * index, 2 * index + 2)
        return IMAGES[part], LABELS[part]


def assert_all_there(stream, with_labels=True):
    batches = list(iterate_batches(*stream, batch_size=2))
    assert [len(x) for x, _ in batches] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), IMAGES)
    assert all(isinstance(x, np.ndarray) for x, _ in batches)
    if with_labels:
        np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), LABELS)
    else:
        assert all(y is None for _, y in batches)


@pytest.mark.parametrize(
    "stream",
    [
        (IMAGES, LABELS),
        (keras.ops.convert_to_tensor(IMAGES), list(LABELS)),
        (Batches(),),
        ([(IMAGES[:2], LABELS[:2]), (IMAGES[2:4], LABELS[2:4]), (IMAGES[4:], LABELS[4:])],),
        ((IMAGES[i : i + 2], LABELS[i : i + 2], np.ones(2)) for i in (0, 2, 4)),
    ],
)
def test_every_source_gives_the_same_batches(stream):
    assert_all_there(stream if isinstance(stream, tuple) else (stream,))


def test_images_alone_have_no_labels():
    assert_all_there((IMAGES,), with_labels=False)
    assert_all_there(([IMAGES[:2], IMAGES[2:4], IMAGES[4:]],), with_labels=False)


@pytest.mark.tensorflow
def test_reads_tensorflow_datasets():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
    assert_all_there((dataset.batch(2),))
    assert count_batches(dataset.batch(2)) == 3
    assert count_batches(dataset.batch(2).filter(lambda x, y: True)) is None
    with pytest.raises(ValueError, match=r"`images` must be of shape .*\.batch\(128\)"):
        next(iterate_batches(dataset))
    with pytest.raises(ValueError, match="endless"):
        next(iterate_batches(dataset.batch(2).repeat()))


def test_counts_batches_where_it_can():
    assert count_batches(IMAGES, 2) == 3
    assert count_batches(Batches()) == 3
    assert count_batches([IMAGES]) == 1
    assert count_batches(iter([IMAGES])) is None


def test_keeps_bytes_and_makes_double_precision_single():
    assert next(iterate_batches(IMAGES.astype("uint8")))[0].dtype == "uint8"
    assert next(iterate_batches(IMAGES.astype("float64")))[0].dtype == "float32"


def test_labels_may_be_masks():
    masks = np.zeros((5, 2, 3), "uint8")
    assert [y.shape for _, y in iterate_batches(IMAGES, masks, 4)] == [(4, 2, 3), (1, 2, 3)]


def test_holds_no_more_than_one_batch_of_an_endless_stream():
    read = []

    def endless():
        while True:
            read.append(1)
            yield IMAGES

    stream = iterate_batches(endless())
    next(stream)
    next(stream)
    assert len(read) == 2


class Endless(Batches):
    def __len__(self):
        return None

    @property
    def num_batches(self):
        return None


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (IMAGES[:0], None, "There are no images"),
        ([], None, "There are no images"),
        (IMAGES[..., 0], None, r"`images` must be of shape .* shape=\(5, 2, 3\)"),
        (np.where(IMAGES == 29, np.nan, IMAGES), None, "`images` must be finite"),
        (np.where(IMAGES == 29, -np.inf, IMAGES), None, "`images` must be finite"),
        (IMAGES, LABELS[:4], r"`labels` must have one entry .* \(4,\) for 5 images"),
        ([(IMAGES, LABELS[:4])], None, r"`labels` must have one entry .* \(4,\) .* 5 images"),
        ([IMAGES], LABELS, "brings its own.*labels beside a list"),
        ([IMAGES, IMAGES[:, :1]], None, "all be of one size"),
        ([{"image": IMAGES}], None, r"x, \(x, y\) or .*Received: dict"),
        ("cifar10", None, "Received: str"),
        (7, None, "Received: int"),
        (Endless(), None, "PyDataset without a length"),
    ],
)
def test_says_what_is_wrong_with_images_and_labels(images, labels, message):
    with pytest.raises(ValueError, match=message):
        list(iterate_batches(images, labels, 2 if isinstance(images, list) else 128))


def test_rejects_a_batch_size_below_one():
    with pytest.raises(ValueError, match="`batch_size` must be an integer of at least 1"):
        next(iterate_batches(IMAGES, batch_size=0))
