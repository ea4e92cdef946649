import types

import h5py
import keras
import numpy as np

from keras_gappos.experiments.engine.runner import save_weights


def test_a_weights_file_holds_the_network_and_not_its_optimizer(tmp_path):
    def network():
        inputs = keras.Input((3,))
        return keras.Model(inputs, keras.layers.Dense(2, name="logits")(inputs))

    trained, other = network(), network()
    trained.compile("adam", "mse")
    trained.train_on_batch(np.ones((4, 3)), np.ones((4, 2)))
    path = tmp_path / save_weights(trained, types.SimpleNamespace(path=tmp_path), "best")
    with h5py.File(path) as file:
        assert "optimizer" not in file
    other.load_weights(path)
    for one, two in zip(trained.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
