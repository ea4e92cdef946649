import keras
import numpy as np
import pytest
from keras import ops
from scipy.ndimage import map_coordinates

from keras_gappos.layers import ResizeLike
from tests.layers.layer_checks import run_layer_test, to_numpy


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def bilinear(maps, height, width):
    """What SciPy gives, at the centers of the new pixels."""
    places = [
        (np.arange(new) + 0.5) * old / new - 0.5
        for new, old in zip((height, width), maps.shape[1:3])
    ]
    grid = np.meshgrid(*places, indexing="ij")
    resized = [
        [map_coordinates(channel, grid, order=1, mode="nearest") for channel in image]
        for image in np.moveaxis(maps, -1, 1)
    ]
    return np.moveaxis(np.array(resized), 1, -1)


def test_does_what_every_layer_owes():
    maps = np.arange(3 * 4 * 5 * 2, dtype="float32").reshape(3, 4, 5, 2) % 9
    like = np.zeros((3, 8, 7, 1), "float32")
    run_layer_test(ResizeLike, {}, (maps, like), (3, 8, 7, 2), dtypes=("float32",))


@pytest.mark.parametrize("old, new", [((3, 4), (9, 13)), ((7, 5), (7, 5)), ((1, 1), (3, 2))])
def test_equals_scipy_with_pixels_as_squares(old, new):
    maps = images(2, *old, 3)
    resized = to_numpy(ResizeLike()(maps, np.zeros((2, *new, 1))))
    np.testing.assert_allclose(resized, bilinear(maps, *new), atol=1e-5)
    keras_own = ops.image.resize(maps, new, interpolation="bilinear")
    np.testing.assert_allclose(resized, to_numpy(keras_own), atol=1e-5)


def test_a_non_finite_pixel_affects_its_channel_of_its_image_alone():
    maps, like = images(2, 4, 5, 3), np.zeros((2, 8, 10, 1))
    clean = to_numpy(ResizeLike()(maps, like))
    maps[1, 2, 2, 0] = np.inf
    resized = to_numpy(ResizeLike()(maps, like))
    assert not np.isfinite(resized[1, 4:6, 4:6, 0]).any()
    resized[1, ..., 0] = clean[1, ..., 0]
    np.testing.assert_array_equal(resized, clean)


def test_takes_sizes_that_are_known_only_when_it_runs():
    inputs = [keras.Input((None, None, 2)), keras.Input((None, None, 3))]
    model = keras.Model(inputs, ResizeLike()(*inputs))
    assert model.output_shape == (None, None, None, 2)
    for old, new in [((2, 3), (4, 9)), ((4, 2), (5, 5))]:
        maps = images(2, *old, 2)
        resized = model.predict([maps, np.zeros((2, *new, 3))], verbose=0)
        np.testing.assert_allclose(resized, bilinear(maps, *new), atol=1e-5)


def test_maps_of_another_rank_are_rejected():
    with pytest.raises(ValueError, match=r"needs maps of shape .*\(2, 3, 4\)"):
        ResizeLike()(images(2, 3, 4), images(2, 5, 5, 1))
