import keras
import numpy as np
import pytest

from keras_gappos import layers

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX's export")


@pytest.mark.parametrize(
    "layer",
    [
        layers.AdaptivePolyphasePool2D(),
        layers.BlurPool2D(),
        layers.BlurPool2D(window=3),
        layers.LearnablePolyphasePool2D(),
        layers.Pad2D(2, "reflect"),
        layers.Pad2D((2, 9), "circular"),
        layers.ResizeLike(),
    ],
)
def test_a_layer_of_unknown_size_exports_a_saved_model(layer, tmp_path):
    tf = pytest.importorskip("tensorflow", reason="Keras writes SavedModels by it")
    maps = keras.Input((None, None, 3))
    more = [keras.ops.repeat(maps, 2, axis=1)] if isinstance(layer, layers.ResizeLike) else []
    model = keras.Model(maps, layer(maps, *more))
    model.export(tmp_path, verbose=False)
    loaded = tf.saved_model.load(str(tmp_path))  # which owns the weights
    for size in ((2, 8, 6, 3), (1, 9, 7, 3)):
        images = np.random.default_rng(0).random(size, "float32")
        np.testing.assert_allclose(loaded.serve(images), model(images), atol=1e-5)
