"""A small run of an experiment, and the loss of each of its training steps."""

from unittest import mock

import keras

from keras_gappos.experiments.invariance import run as invariance
from keras_gappos.experiments.invariance.settings import InvarianceSettings

STEPS = 10  # of an epoch


def settings(folder, **changes):
    """Without flips and shifts, which replicas draw for themselves."""
    arguments = {
        "dataset": "digits",
        "output_dir": str(folder),
        "methods": ("resnet18_unshifted",),
        "flip": False,
        "width": 2,
        "epochs": 2,
        "batch_size": 16,
        "max_shift": 1,
        "consistency_weights": (10.0,),
        "validation_images": 40,
        "train_images": 16 * STEPS,
        "test_images": 50,
        "pairs": 2,
    }
    return InvarianceSettings(**{**arguments, **changes})


def build_small_network(settings, method, image_shape, num_classes):
    """One convolution in place of a ResNet, which takes long to compile."""
    return keras.Sequential(
        [
            keras.Input(tuple(image_shape)),
            keras.layers.Conv2D(4, 3, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(num_classes, dtype="float32"),
        ]
    )


class StepLosses(keras.callbacks.Callback):
    """The loss of each step, out of Keras' mean over the steps of an epoch so far.

    Args:
        stop_in: the epoch, from 0, in which the run is interrupted, or `None`.
    """

    def __init__(self, stop_in=None):
        super().__init__()
        self.losses, self._stop_in = [], stop_in

    def on_epoch_begin(self, epoch, logs=None):
        self._sum = 0.0
        if epoch == self._stop_in:
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch, logs=None):
        total = float(logs["loss"]) * (batch + 1)
        self.losses.append(total - self._sum)
        self._sum = total


def run(settings, stop_in=None, build=build_small_network):
    """Runs the invariance experiment; returns its rows and the loss of each step."""
    fit, watch = invariance.Invariance.fit, StepLosses(stop_in)

    def watched_fit(*args, **kwargs):
        return fit(*args, callbacks=[watch], **kwargs)

    with (
        mock.patch.object(invariance, "build_network", build),
        mock.patch.object(invariance.Invariance, "fit", watched_fit),
    ):
        return invariance.Invariance(settings).run(), watch.losses
