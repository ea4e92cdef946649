import keras
import numpy as np
import pytest

from keras_gappos.layers import ImageStandardization
from tests.layers.layer_checks import run_layer_test

RAW = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 2)).astype("uint8")
ARGUMENTS = {"mean": [0.25, 0.5], "std": [0.5, 0.125], "white": 100.0}
EXPECTED = (RAW / 255 - [0.25, 0.5]) / [0.5, 0.125]


def test_does_what_every_layer_owes():
    run_layer_test(ImageStandardization, ARGUMENTS, (RAW.astype("float32"),), RAW.shape, dtypes=())


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float32", "float64"])
def test_raw_images_of_every_dtype_become_the_same_float32(dtype):
    outputs = ImageStandardization([0.25, 0.5], [0.5, 0.125])(RAW.astype(dtype))
    assert keras.backend.standardize_dtype(outputs.dtype) == "float32"
    np.testing.assert_allclose(keras.ops.convert_to_numpy(outputs), EXPECTED, atol=1e-5)


def test_it_works_in_tf_data_on_every_backend():
    tf = pytest.importorskip("tensorflow")
    layer = ImageStandardization([0.25, 0.5], [0.5, 0.125])
    for images in (RAW, RAW.astype("float32")):
        batch = next(
            tf.data.Dataset.from_tensor_slices(images).map(layer).batch(3).as_numpy_iterator()
        )
        np.testing.assert_allclose(batch, EXPECTED, atol=1e-5)


@pytest.mark.parametrize(
    "arguments", [{"std": [0.5]}, {"std": [0.5, 0.0]}, {"white": 0}, {"mean": [], "std": []}]
)
def test_wrong_arguments_are_named(arguments):
    with pytest.raises(ValueError, match="a number for each channel"):
        ImageStandardization(**{"mean": [0.25, 0.5], "std": [0.5, 0.125], **arguments})
