"""A search without training, for the tests of searches; as a script, a process of one.

python toy_search.py FOLDER SECONDS KIND TRIALS PATIENCE

PATIENCE is how many seconds a worker waits for a chief that is gone.
"""

import pathlib
import sys
import time
import types

import keras
import keras_tuner

from keras_gappos.tuning.resumable.chief import heartbeat, serve, wait_for_chief
from keras_gappos.tuning.resumable.role import find_role
from keras_gappos.tuning.tuner import make_tuner


class ToyHyperModel(keras_tuner.HyperModel):
    """The accuracy is `x`; trials with an `x` in `failing` fail, each takes `seconds`.

    Attributes:
        runs: `(x, initial epoch, epochs, bias that the network began with)` of each trial.
    """

    def __init__(self, seconds=0.0, failing=(), high=99):
        super().__init__()
        self._seconds, self._failing, self._high = seconds, failing, high
        self.runs = []

    def build(self, hp):
        hp.Int("x", 0, self._high)
        return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])

    def fit(self, hp, model, epochs, initial_epoch, callbacks, **_):
        x, bias = hp.get("x"), model.layers[-1].bias
        self.runs.append((x, initial_epoch, epochs, float(keras.ops.convert_to_numpy(bias)[0])))
        time.sleep(self._seconds)
        if x in self._failing:
            raise keras_tuner.errors.FailedTrialError(f"diverged at x={x}")
        bias.assign([100.0 * x + epochs])
        values = {"val_accuracy": [0.0, x / 100], "val_shift_consistency": [0.0, 100.0 - x]}
        return types.SimpleNamespace(history=values)


def toy_tuner(folder, kind="random", trials=6, epochs=1, hypermodel=None, **arguments):
    hypermodel = hypermodel or ToyHyperModel()
    return make_tuner(kind, hypermodel, directory=folder, trials=trials, epochs=epochs, **arguments)


def main(folder, seconds, kind, trials, patience):
    role, folder = find_role(), pathlib.Path(folder)
    hypermodel = ToyHyperModel(float(seconds), failing=(0,))
    if role.is_chief:
        tuner = toy_tuner(folder, kind, int(trials), hypermodel=hypermodel)
        serve(tuner.oracle, role, folder, lost_after=float(patience) * 2 / 3)
        return
    wait_for_chief(role, timeout=60.0)
    with heartbeat(role, folder, float(patience)):
        toy_tuner(folder, kind, int(trials), hypermodel=hypermodel).search()


if __name__ == "__main__":
    main(*sys.argv[1:])
