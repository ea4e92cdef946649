"""Put each image on one cell of a black grid."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_gappos.arguments import Tensor, integer
from keras_gappos.layers.data_format import require_channels_last


def place_on_grid(images: Tensor, cells: Tensor, grid_size: int) -> Tensor:
    """Returns black canvases with one image on one cell each.

    The pure function under `GridPlacement`.

    Args:
        images: tensor `(batch, height, width, channels)` of any dtype.
        cells: integer tensor `(batch,)` with values in [0, grid_size**2); cell `i` is row
            `i // grid_size`, column `i % grid_size`.
        grid_size: number of cells along each side, at least 1.

    Returns:
        Tensor `(batch, grid_size * height, grid_size * width, channels)` with the images' dtype.

    Raises:
        ValueError: if, outside of a compiled function, a cell is not on the grid.
    """
    images = ops.convert_to_tensor(images)
    _check_values(cells, grid_size)
    _, height, width, channels = images.shape
    cells = ops.cast(cells, "int32")[:, None, None]
    grid = ops.reshape(ops.arange(grid_size**2, dtype="int32"), (1, grid_size, grid_size))
    here = ops.equal(cells, grid)[:, :, None, :, None]
    # A row of pixels as one dimension: TensorFlow broadcasts rank 6 many times slower than rank 5.
    rows = ops.reshape(images, (-1, 1, height, 1, width * channels))
    tiles = ops.where(here, rows, ops.zeros((), images.dtype))
    return ops.reshape(tiles, (-1, grid_size * height, grid_size * width, channels))


@keras.saving.register_keras_serializable(package="keras_gappos")
class GridPlacement(keras.layers.Layer):
    """Places each image of a batch on one cell of a black grid canvas.

    Args:
        grid_size: number of cells along each side, at least 1.

    Input shape:
        Two tensors: images `(batch, height, width, channels)` of any dtype, height, width and
        channels known; and cells `(batch,)`, integers in [0, grid_size**2). Cell `i` is row
        `i // grid_size`, column `i % grid_size`.

    Output shape:
        `(batch, grid_size * height, grid_size * width, channels)`, with the dtype of the images.

    Raises:
        ValueError: if `grid_size` is below 1, the images are not of rank 4, there is not one
            integer cell per image, or, outside of a compiled function, a cell is not on the grid.
            (In a compiled function the values are unknown; such an image appears on no cell.)

    Examples:
        >>> canvas = keras_gappos.layers.GridPlacement(2)(np.ones((1, 1, 1, 1)), np.array([2]))
        >>> canvas[0, :, :, 0].tolist()
        [[0.0, 0.0], [1.0, 0.0]]

    Source: Islam et al., ICCV 2021, section 3.1.
    """

    def __init__(self, grid_size: int, **kwargs):
        require_channels_last("GridPlacement")
        super().__init__(autocast=False, **kwargs)
        self.grid_size = integer("grid_size", grid_size, 1)

    def call(self, images: Tensor, cells: Tensor) -> Tensor:
        """Returns the canvases."""
        self._check_shapes(images, cells)
        return place_on_grid(images, cells, self.grid_size)

    def _check_shapes(self, images, cells):
        if len(images.shape) != 4 or None in images.shape[1:]:
            raise ValueError(
                "`images` must be of shape (batch, height, width, channels), known except for the "
                f"batch. Received: shape={tuple(images.shape)}"
            )
        count, cells_shape = images.shape[0], tuple(cells.shape)
        known = None not in (count, *cells_shape)
        if len(cells_shape) != 1 or (known and cells_shape[0] != count):
            raise ValueError(
                "`cells` must be of shape (batch,), one cell for each image. "
                f"Received: cells of shape {cells_shape} for {count} images"
            )
        if "int" not in keras.backend.standardize_dtype(cells.dtype):
            raise ValueError(f"`cells` must be integers. Received: dtype={cells.dtype}")

    def compute_output_shape(self, images_shape: tuple, cells_shape: tuple | None = None) -> tuple:
        """The canvases' shape."""
        batch, height, width, channels = images_shape
        return (batch, self.grid_size * height, self.grid_size * width, channels)

    def compute_output_spec(self, images: Tensor, cells: Tensor) -> keras.KerasTensor:
        """The canvases' shape, and the images' dtype."""
        self._check_shapes(images, cells)
        return keras.KerasTensor(self.compute_output_shape(images.shape), dtype=images.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "grid_size": self.grid_size}


def _check_values(cells, grid_size):
    try:
        values = ops.convert_to_numpy(cells)
    except (TypeError, NotImplementedError):  # being traced: no values to look at
        return
    if values.size and (values.min() < 0 or values.max() >= grid_size**2):
        raise ValueError(
            f"`cells` must be in [0, {grid_size**2}) for grid_size={grid_size}. "
            f"Received: cells from {values.min()} to {values.max()}"
        )
