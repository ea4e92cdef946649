"""Batches of canvases, each with one image on a random cell."""

import keras
import numpy as np

from keras_gappos.layers import place_on_grid


class GridBatches(keras.utils.PyDataset):
    """Canvases with their cells or their images' labels, the images in order, once or many times.

    The same seed puts the same images on the same cells, whatever is asked for beside them.

    Args:
        images: `(n, height, width, channels)` array.
        labels: `(n,)` array.
        grid_size: number of cells along each side.
        task: what to give with the canvases: `"location"`, the cells, or `"class"`, the labels.
        batch_size: canvases in a batch; the last one of a pass may be smaller.
        seed: integer, at least 0, or a tuple of such, of the cells.
        passes: how often to go through the images, with fresh cells each time.
    """

    def __init__(self, images, labels, grid_size, task, batch_size, seed, passes=1):
        super().__init__()
        self._images, self._labels, self._grid_size = images, labels, grid_size
        self._task, self._batch_size = task, batch_size
        self._batches_of_pass = -(-len(images) // batch_size)
        rng = np.random.default_rng(seed)
        self._cells = rng.integers(0, grid_size**2, (passes, len(images)))

    def __len__(self):
        return len(self._cells) * self._batches_of_pass

    def __getitem__(self, index):
        which, index = divmod(index, self._batches_of_pass)
        batch = slice(index * self._batch_size, (index + 1) * self._batch_size)
        cells = self._cells[which, batch]
        canvases = place_on_grid(self._images[batch], cells, self._grid_size)
        return canvases, cells if self._task == "location" else self._labels[batch]
