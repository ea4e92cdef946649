import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_gappos.layers import GridPlacement, place_on_grid
from tests.layers.layer_checks import run_layer_test, to_numpy

DTYPES = ("float16", "bfloat16", "float32", "int8", "uint8", "int32", "bool")


def test_does_what_every_layer_owes():
    images = np.arange(1, 37, dtype="float32").reshape(3, 2, 3, 2)
    cells = np.array([0, 8, 5], dtype="int32")
    run_layer_test(GridPlacement, {"grid_size": 3}, (images, cells), (3, 6, 9, 2), dtypes=DTYPES)


def test_cells_count_along_the_rows():
    images = np.array([[[1, 2]], [[3, 4]]], dtype="int32")[..., None]  # two of 1x2 pixels
    canvases = to_numpy(place_on_grid(images, np.array([1, 2]), 2))
    assert canvases[..., 0].tolist() == [[[0, 0, 1, 2], [0, 0, 0, 0]], [[0, 0, 0, 0], [3, 4, 0, 0]]]


@settings(max_examples=25, deadline=None)
@given(
    grid_size=st.integers(1, 4),
    shape=st.tuples(*[st.integers(1, 3)] * 4),
    dtype=st.sampled_from(("uint8", "float16", "float32")),
    data=st.data(),
)
def test_equals_a_loop_that_fills_one_cell_an_image(grid_size, shape, dtype, data):
    batch, height, width, channels = shape
    on_grid = st.integers(0, grid_size**2 - 1)
    cells = np.array(data.draw(st.lists(on_grid, min_size=batch, max_size=batch)))
    images = np.random.default_rng(0).integers(1, 256, shape).astype(dtype)
    expected = np.zeros((batch, grid_size * height, grid_size * width, channels), dtype)
    for canvas, image, cell in zip(expected, images, cells):
        top, left = (cell // grid_size) * height, (cell % grid_size) * width
        canvas[top : top + height, left : left + width] = image
    canvases = to_numpy(place_on_grid(ops.convert_to_tensor(images), cells, grid_size))
    assert canvases.dtype == dtype
    np.testing.assert_array_equal(canvases, expected)


def test_nan_and_infinity_stay_on_their_cell():
    image = np.array([np.nan, np.inf], dtype="float32").reshape(1, 1, 2, 1)
    canvas = to_numpy(place_on_grid(image, np.array([3]), 2))[0, :, :, 0]
    np.testing.assert_array_equal(canvas, [[0, 0, 0, 0], [0, 0, np.nan, np.inf]])


def test_inside_a_compiled_function_an_image_off_the_grid_appears_nowhere():
    images, cells = keras.Input((1, 1, 1)), keras.Input((), dtype="int32")
    model = keras.Model([images, cells], GridPlacement(2)(images, cells))
    arrays = [np.ones((3, 1, 1, 1), "float32"), np.array([-1, 0, 4], "int32")]
    assert model.predict(arrays, verbose=0).sum((1, 2, 3)).tolist() == [0, 1, 0]


@pytest.mark.parametrize("grid_size", [0, -2, 1.5, "3"])
def test_a_grid_size_that_is_no_positive_integer_is_rejected(grid_size):
    message = f"`grid_size` must be an integer of at least 1. Received: grid_size={grid_size!r}"
    with pytest.raises(ValueError, match=message):
        GridPlacement(grid_size)


@pytest.mark.parametrize("cells", [[0, 4], [-1, 3]])
def test_cells_off_the_grid_are_rejected(cells):
    message = rf"`cells` must be in \[0, 4\) for grid_size=2.*cells from {cells[0]} to {cells[1]}"
    with pytest.raises(ValueError, match=message):
        GridPlacement(2)(np.zeros((2, 1, 1, 1)), np.array(cells))


def test_images_of_a_wrong_rank_are_rejected():
    with pytest.raises(ValueError, match=r"`images` must be of shape \(batch.*shape=\(2, 1, 1\)"):
        GridPlacement(2)(np.zeros((2, 1, 1)), np.array([0, 1]))


@pytest.mark.parametrize("shape", [(2, 1), (None, 2, 1)])
def test_symbolic_images_of_a_wrong_rank_or_unknown_size_are_rejected(shape):
    with pytest.raises(ValueError, match=r"`images` must be of shape \(batch, height"):
        GridPlacement(2)(keras.Input(shape), keras.Input((), dtype="int32"))


@pytest.mark.parametrize("cells", [[3], [[0, 1]], [[0], [1]]])
def test_cells_that_are_not_one_an_image_are_rejected(cells):
    with pytest.raises(ValueError, match="`cells` must"):
        GridPlacement(2)(np.ones((2, 1, 1, 1)), np.array(cells))


@pytest.mark.parametrize("cells", [[0.7, 1.9], [np.nan, 1.0]])
def test_cells_that_are_no_integers_are_rejected(cells):
    with pytest.raises(ValueError, match="`cells` must"):
        GridPlacement(2)(np.ones((2, 1, 1, 1)), np.array(cells))
