"""Batches of images for `fit` and `evaluate`, determined by their seed."""

from __future__ import annotations

import keras
import numpy as np

from keras_gappos.layers import place_on_grid


class ShuffledBatches(keras.utils.PyDataset):
    """Batches in an order that depends only on the seed and the epoch.

    A resumed training sees the same batches as one without an interruption: epoch e draws from
    `default_rng((seed, e))`. Images that do not fill a batch are omitted, different ones in each
    epoch. Pass `callback` and `shuffle=False` to `fit`.
    """

    _images: np.ndarray
    _batch_size: int

    def start_epoch(self, epoch: int) -> None:
        """Draws the order and the changes of an epoch, counted from 0."""
        raise NotImplementedError

    @property
    def callback(self) -> keras.callbacks.Callback:
        """The Keras callback that starts the epochs."""
        return keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: self.start_epoch(epoch)
        )

    def __len__(self) -> int:
        return len(self._images) // self._batch_size

    def _slice(self, index: int) -> slice:
        return slice(index * self._batch_size, (index + 1) * self._batch_size)


class TrainingBatches(ShuffledBatches):
    """Shuffled and, if requested, mirrored batches of images and labels.

    Args:
        images: `(n, height, width, channels)` array.
        labels: `(n,)` array.
        batch_size: images in a batch, at most n.
        flip: whether to mirror half of the images left to right.
        seed: integer, at least 0.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, batch_size: int, flip: bool, seed: int
    ):
        super().__init__()
        self._images, self._labels, self._batch_size = images, labels, batch_size
        self._flip, self._seed = flip, seed
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draws the order and the flips of an epoch, counted from 0."""
        rng = np.random.default_rng((self._seed, epoch))
        order = rng.permutation(len(self._images))
        mirrored = (rng.random(len(order)) < 0.5) & self._flip
        self._epoch = order, mirrored  # one assignment: another thread may be making batches

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        order, mirrored = (values[self._slice(index)] for values in self._epoch)
        images = self._images[order]
        images[mirrored] = images[mirrored, :, ::-1]
        return images, self._labels[order]


class GridBatches(keras.utils.PyDataset):
    """Canvases with one image on a random cell each, and their cells or their images' labels.

    The images come in order, `passes` times. The same seed puts the same images on the same cells
    for either task.

    Args:
        images: `(n, height, width, channels)` array.
        labels: `(n,)` array.
        grid_size: number of cells along each side.
        task: the targets: `"location"`, the cells, or `"class"`, the labels.
        batch_size: canvases in a batch; the last one of a pass may be smaller.
        seed: integer of at least 0, or a tuple of them; determines the cells.
        passes: how often to go through the images, with fresh cells each time.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        grid_size: int,
        task: str,
        batch_size: int,
        seed: int | tuple[int, ...],
        passes: int = 1,
    ):
        super().__init__()
        self._images, self._labels, self._grid_size = images, labels, grid_size
        self._task, self._batch_size = task, batch_size
        self._batches_of_pass = -(-len(images) // batch_size)
        rng = np.random.default_rng(seed)
        self._cells = rng.integers(0, grid_size**2, (passes, len(images)))

    def __len__(self) -> int:
        return len(self._cells) * self._batches_of_pass

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        which, index = divmod(index, self._batches_of_pass)
        batch = slice(index * self._batch_size, (index + 1) * self._batch_size)
        cells = self._cells[which, batch]
        canvases = place_on_grid(self._images[batch], cells, self._grid_size)
        return canvases, cells if self._task == "location" else self._labels[batch]
