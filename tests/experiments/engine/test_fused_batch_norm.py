import keras
import numpy as np
import pytest

from keras_gappos import models
from keras_gappos.experiments.engine import fused_batch_norm
from keras_gappos.experiments.engine.devices import ONE_DEVICE, dtype_policy
from keras_gappos.experiments.engine.fused_batch_norm import with_fused_batch_norm

pytestmark = pytest.mark.tensorflow
# One rounding of the policy's numbers, relative to the largest of them.
ERRORS = {"float32": 1e-5, "mixed_float16": 2e-3, "mixed_bfloat16": 1.6e-2}


def pair(policy, **arguments):
    """A stock batch normalization and a fused one, of the same weights."""
    with dtype_policy(policy):
        stock = keras.layers.BatchNormalization(**arguments)
        fused = with_fused_batch_norm(stock)
        stock.build((None, 5, 4, 3))
        fused.build((None, 5, 4, 3))
    stock.set_weights(
        [np.random.default_rng(i).uniform(0.5, 2, 3) for i in range(len(stock.weights))]
    )
    fused.set_weights(stock.get_weights())
    return stock, fused


def train(layer, images):
    """Output and gradients of a training call."""
    import tensorflow as tf

    images = tf.Variable(tf.cast(images, layer.compute_dtype))
    with tf.GradientTape() as tape:
        outputs = layer(images, training=True)
        loss = tf.reduce_sum(tf.sin(tf.cast(outputs, "float32")))
    gradients = tape.gradient(loss, [images, *layer.trainable_variables])
    return [tf.cast(values, "float32").numpy() for values in (outputs, *gradients)]


@pytest.mark.parametrize("policy", ERRORS)
@pytest.mark.parametrize("batch", [1, 6])
def test_it_trains_as_the_stock_layer_does(policy, batch):
    images = np.random.default_rng(9).normal(3, 2, (batch, 5, 4, 3)).astype("float32")
    stock, fused = pair(policy, momentum=0.7, epsilon=0.01)
    assert type(fused) is fused_batch_norm.BatchNormalization
    np.testing.assert_array_equal(fused(images), stock(images))
    for expected, values in zip(train(stock, images), train(fused, images), strict=True):
        np.testing.assert_allclose(values, expected, atol=ERRORS[policy] * np.abs(expected).max())
    for expected, values in zip(stock.get_weights(), fused.get_weights(), strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_one_pixel_has_no_variance():
    pixel = np.ones((1, 1, 1, 3), "float32")
    for layer in pair("float32", momentum=0.5):
        before = layer.get_weights()[3]
        layer(pixel, training=True)
        np.testing.assert_allclose(layer.get_weights()[3], before / 2, rtol=1e-6)


@pytest.mark.parametrize("arguments", [{"scale": False}, {"center": False}, {"axis": 1}])
def test_what_the_operation_cannot_do_is_left_to_the_stock_layer(arguments):
    images = np.random.default_rng(1).normal(size=(4, 3, 4, 3)).astype("float32")
    stock = keras.layers.BatchNormalization(**arguments)
    fused = with_fused_batch_norm(stock)
    np.testing.assert_array_equal(fused(images, training=True), stock(images, training=True))


def test_a_frozen_layer_keeps_its_statistics():
    fused = with_fused_batch_norm(keras.layers.BatchNormalization(trainable=False))
    images = np.ones((2, 4, 4, 3), "float32")
    fused(images, training=True)
    np.testing.assert_array_equal(fused.moving_mean, np.zeros(3))


def test_the_network_itself_keeps_stock_layers_and_gets_the_weights():
    network = models.permutenet((8, 8, 3), 4, width=4, seed=3)
    kinds = [type(layer) for layer in network.layers]
    assert keras.layers.BatchNormalization in kinds
    with ONE_DEVICE.training(network) as copy:
        assert fused_batch_norm.BatchNormalization in map(type, copy.layers)
        assert keras.layers.BatchNormalization not in map(type, copy.layers)
        copy(np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32"), training=True)
        trained = copy.get_weights()
    assert [type(layer) for layer in network.layers] == kinds
    for expected, values in zip(trained, network.get_weights(), strict=True):
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("trained_fused", [True, False])
def test_weights_are_saved_and_loaded_as_of_the_stock_layer(trained_fused, tmp_path):
    stock = models.gapnet((8, 8, 3), 4, width=4)
    fused = keras.models.clone_model(stock, clone_function=with_fused_batch_norm)
    source, target = (fused, stock) if trained_fused else (stock, fused)
    source.save_weights(tmp_path / "one.weights.h5")
    target.load_weights(tmp_path / "one.weights.h5")
    for expected, values in zip(source.get_weights(), target.get_weights(), strict=True):
        np.testing.assert_array_equal(values, expected)
