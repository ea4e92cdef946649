import keras
import numpy as np

from keras_gappos.experiments.engine.checkpoint import EpochBackup

X, Y = np.ones((8, 3), "float32"), np.ones((8, 1), "float32")


def model():
    keras.utils.set_random_seed(0)
    dropout = keras.layers.Dropout(0.5)  # whose random state Keras leaves out of weights files
    network = keras.Sequential([keras.Input((3,)), dropout, keras.layers.Dense(1)])
    network.compile(keras.optimizers.Adam(0.1), "mse")
    return network


def fit(network, backup, epochs, *callbacks):
    network.fit(
        X, Y, epochs=epochs, initial_epoch=backup.epochs, callbacks=[*callbacks, backup], verbose=0
    )


def test_a_training_goes_on_where_the_backup_is(tmp_path):
    straight, broken, again = model(), model(), model()
    straight.fit(X, Y, epochs=4, verbose=0)
    fit(broken, EpochBackup(tmp_path, broken), 2)
    backup = EpochBackup(tmp_path, again)
    assert (backup.epochs, backup.stopped) == (2, False)
    fit(again, backup, 4)
    assert backup.epochs == 4
    for one, other in zip(straight.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_stop_before_the_last_epoch_is_remembered(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    network = model()
    fit(network, EpochBackup(tmp_path, network), 5, Stop())
    backup = EpochBackup(tmp_path, model())
    assert (backup.epochs, backup.stopped) == (2, True)


def test_half_written_files_and_older_epochs_are_passed_over(tmp_path):
    network = model()
    fit(network, EpochBackup(tmp_path, network), 2)
    (tmp_path / ".123.epoch0003_9s.weights.h5").write_bytes(b"half")
    (tmp_path / "epoch0001_1s.weights.h5").write_bytes(b"older, left by a kill")
    assert EpochBackup(tmp_path, model()).epochs == 2


def test_the_time_of_earlier_processes_counts(tmp_path):
    network = model()
    backup = EpochBackup(tmp_path, network)
    backup._start -= 100
    fit(network, backup, 1)
    assert 100 <= EpochBackup(tmp_path, model()).seconds < 130
