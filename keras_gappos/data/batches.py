"""Training batches whose order and flips depend on nothing but the seed and the epoch."""

import keras
import numpy as np


class TrainingBatches(keras.utils.PyDataset):
    """Shuffled and, if asked for, mirrored batches of images and labels.

    A training that was stopped and goes on sees what it would have seen without the stop: epoch e
    draws from `default_rng((seed, e))`. Images that do not fill a batch are left out, other ones in
    each epoch. `callback` must be given to `fit`, and `shuffle=False`, since the batches come
    shuffled.

    Args:
        images: `(n, height, width, channels)` array.
        labels: `(n,)` array.
        batch_size: images in a batch, at most n.
        flip: whether to mirror half of the images left to right.
        seed: integer, at least 0.
    """

    def __init__(self, images, labels, batch_size, flip, seed):
        super().__init__()
        self._images, self._labels, self._batch_size = images, labels, batch_size
        self._flip, self._seed = flip, seed
        self.start_epoch(0)

    def start_epoch(self, epoch):
        """Draws the order and the flips of an epoch, counted from 0."""
        rng = np.random.default_rng((self._seed, epoch))
        order = rng.permutation(len(self._images))
        mirrored = (rng.random(len(order)) < 0.5) & self._flip
        self._epoch = order, mirrored  # in one assignment: batches may be made in another thread

    @property
    def callback(self):
        """The Keras callback that starts the epochs."""
        return keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: self.start_epoch(epoch)
        )

    def __len__(self):
        return len(self._images) // self._batch_size

    def __getitem__(self, index):
        order, mirrored = self._epoch
        batch = slice(index * self._batch_size, (index + 1) * self._batch_size)
        images, mirrored = self._images[order[batch]], mirrored[batch]
        images[mirrored] = images[mirrored, :, ::-1]
        return images, self._labels[order[batch]]
