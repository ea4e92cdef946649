import keras
import numpy as np
import pytest

from keras_gappos.data.batches import TrainingBatches

# Image i is [[i, i + 0.5]]: its label and whether it is mirrored can be read off.
LABELS = np.arange(50)
IMAGES = (LABELS[:, None] + [[0, 0.5]]).reshape(50, 1, 2, 1)


def epoch(batches, number):
    batches.start_epoch(number)
    images, labels = zip(*(batches[i] for i in range(len(batches))))
    return np.concatenate(images), np.concatenate(labels)


def test_an_epoch_has_each_image_once_with_its_label_and_half_are_mirrored():
    images, labels = epoch(TrainingBatches(IMAGES, LABELS, 10, flip=True, seed=0), 0)
    assert sorted(labels) == list(LABELS)
    assert (images.min((1, 2, 3)) == labels).all()
    mirrored = images[:, 0, 0, 0] > images[:, 0, 1, 0]
    assert 13 < mirrored.sum() < 37


def test_the_images_given_are_left_as_they_are():
    before = IMAGES.copy()
    epoch(TrainingBatches(IMAGES, LABELS, 10, flip=True, seed=0), 0)
    assert (before == IMAGES).all()


def test_without_flip_no_image_is_mirrored():
    images, _ = epoch(TrainingBatches(IMAGES, LABELS, 10, flip=False, seed=0), 3)
    assert (images[:, 0, 0, 0] < images[:, 0, 1, 0]).all()


def test_an_epoch_depends_on_seed_and_number_alone():
    one, other = (TrainingBatches(IMAGES, LABELS, 10, flip=True, seed=1) for _ in range(2))
    epoch(one, 0)
    epoch(one, 1)
    for mine, others in zip(epoch(one, 2), epoch(other, 2)):
        np.testing.assert_array_equal(mine, others)
    assert (epoch(one, 2)[1] != epoch(one, 3)[1]).any()
    unlike = TrainingBatches(IMAGES, LABELS, 10, flip=True, seed=2)
    assert (epoch(one, 2)[1] != epoch(unlike, 2)[1]).any()


def test_what_does_not_fill_a_batch_is_left_out_and_differs_between_epochs():
    batches = TrainingBatches(IMAGES, LABELS, 20, flip=False, seed=0)
    assert len(batches) == 2
    left_out = [set(LABELS) - set(epoch(batches, number)[1]) for number in (0, 1)]
    assert [len(images) for images in left_out] == [10, 10]
    assert left_out[0] != left_out[1]


@pytest.mark.parametrize("first", [0, 2])
def test_fit_sees_the_epochs_that_it_counts(first):
    seen = []

    class Watched(TrainingBatches):
        def start_epoch(self, epoch):
            seen.append(epoch)
            super().start_epoch(epoch)

    batches = Watched(IMAGES, LABELS, 25, flip=True, seed=0)
    model = keras.Sequential([keras.Input((1, 2, 1)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(1))
    model.compile("sgd", "mse")
    model.fit(
        batches,
        initial_epoch=first,
        epochs=4,
        callbacks=[batches.callback],
        shuffle=False,
        verbose=0,
    )
    assert seen[1:] == list(range(first, 4))
