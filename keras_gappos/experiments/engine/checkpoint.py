"""A backup after each epoch of a training, so that a killed run resumes from its last epoch."""

import re
import time

import h5py
import keras
import numpy as np

from keras_gappos.experiments.engine.devices import ONE_DEVICE
from keras_gappos.files import weights_in_memory, write_bytes

_RANDOM = "random_states"  # beside the weights: Keras leaves out those of its layers, as Dropout's
_NAME = re.compile(r"epoch(\d+)_(\d+)s(_stopped)?\.weights\.h5")


class EpochBackup(keras.callbacks.Callback):
    """Saves weights, optimizer and random state after each epoch, in one move of one file.

    `keras.callbacks.BackupAndRestore` keeps the epoch's number in a file of its own and writes
    both in place: killed at the wrong moment, it trains an epoch twice or cannot start again. Here
    the file's name says the epoch, so that the two are never apart.

    Args:
        folder: a `pathlib.Path` for the backup; one training, one folder.
        model: the compiled model that will be fitted; the backup is loaded into it, if there is
            one.
        devices: the `Devices` that train it. All processes load the chief's backup. All make one,
            too, since Keras makes variables on all devices to save an optimizer, but the others'
            folder is temporary.

    Attributes:
        epochs: epochs finished, by earlier processes and this one.
        stopped: whether the training was ended before its last epoch (`model.stop_training`).
        seconds: wall time spent, earlier processes' finished epochs included.
    """

    def __init__(self, folder, model, devices=ONE_DEVICE):
        super().__init__()
        self._folder = folder
        self._start = time.monotonic()
        self.epochs, self.stopped = 0, False
        path = devices.file_from_chief(_newest(folder), folder)
        if path is not None:
            match = _NAME.fullmatch(path.name)
            self.epochs, self.stopped = int(match[1]), bool(match[3])
            self._start -= int(match[2])
            model.optimizer.build(model.trainable_variables)
            model.load_weights(path)
            with h5py.File(path) as file:
                for state, value in zip(_random_states(model), file.get(_RANDOM, ())):
                    state.assign(value.astype(state.dtype))

    @property
    def seconds(self):
        """Wall time spent, earlier processes' finished epochs included."""
        return time.monotonic() - self._start

    def on_epoch_end(self, epoch, logs=None):
        """Replaces the backup by one of this epoch; after the callbacks that may stop."""
        self.epochs, self.stopped = epoch + 1, bool(self.model.stop_training)
        ending = "_stopped" if self.stopped else ""
        path = self._folder / f"epoch{self.epochs:04d}_{self.seconds:.0f}s{ending}.weights.h5"
        content = weights_in_memory(self.model)
        states = [keras.ops.convert_to_numpy(state) for state in _random_states(self.model)]
        with h5py.File(content, "a") as file:
            file[_RANDOM] = np.array(states, "int64").reshape(-1, 2)
        write_bytes(path, content.getbuffer())
        for old in self._folder.glob("epoch*"):
            if old != path:
                old.unlink()


def _newest(folder):
    """The file of the latest epoch, or `None`."""
    found = [path for path in folder.glob("epoch*") if _NAME.fullmatch(path.name)]
    return max(found, key=lambda path: int(_NAME.fullmatch(path.name)[1]), default=None)


def _random_states(model):
    """The states of a model's seed generators, variables of two integers each."""
    weights = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]
