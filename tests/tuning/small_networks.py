"""Hypermodels whose networks train in a second, and the digits that they are tuned on."""

import keras

import keras_gappos as kg

DIGITS, DIGIT_LABELS = kg.data.load("digits", "train", limit=96)
DIGITS = (DIGITS / 255).astype("float32")
IMAGES, LABELS = DIGITS[:64], DIGIT_LABELS[:64]
VALIDATION = HELD_OUT, HELD_OUT_LABELS = DIGITS[64:], DIGIT_LABELS[64:]
STEPS = 2  # of an epoch, with the batch size of `SPACE`
SPACE = {"batch_size": 32, "width": [8, 16]}


def small_network(input_shape, outputs, width):
    """One convolution in place of a ResNet, which takes long to compile."""
    inputs = keras.Input(input_shape)
    x = keras.layers.Conv2D(width, 3, strides=2, use_bias=False, name="conv")(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(outputs, dtype="float32")(x))


class Eager:
    """Trains without a graph, which takes longer to make than all the rest."""

    def _compile(self, model, optimizer):
        super()._compile(model, optimizer)
        model.run_eagerly = keras.backend.backend() == "tensorflow"


class SmallAugShift(kg.tuning.AugShiftHyperModel):
    def __init__(self, space=None, **arguments):
        arguments = {"measure_shift": 1, "consistency_images": 20, "epochs": 1, **arguments}
        super().__init__((8, 8, 1), 10, {**SPACE, **(space or {})}, **arguments)

    def make_network(self, values):
        return small_network(self.image_shape, self.num_classes, values["width"])


class EagerAugShift(Eager, SmallAugShift):
    pass


class SmallGridNet(Eager, kg.tuning.GridNetHyperModel):
    def __init__(self, space=None, **arguments):
        arguments = {"grid_size": 2, "epochs": 1, **arguments}
        super().__init__((8, 8, 1), 10, space={**SPACE, **(space or {})}, **arguments)

    def make_network(self, values):
        outputs = self.grid_size**2 if self.task == "location" else self.num_classes
        side = 8 * self.grid_size
        return small_network((side, side, 1), outputs, values["width"])


class Recorder(keras.callbacks.Callback):
    """Keeps the optimizer's state at the beginning, and the learning rate after each step.

    Attributes:
        trainings: a dictionary for each call of `fit`, with `iterations` and `momenta` (largest
            value) at its beginning, `rates` after its steps, and `logs` of its epochs.
    """

    def __init__(self):
        super().__init__()
        self.trainings = []

    def __deepcopy__(self, memo):
        return self  # KerasTuner gives each trial a copy of the callbacks

    def on_train_begin(self, logs=None):
        optimizer = self.model.optimizer
        momenta = [v for v in optimizer.variables if "momentum" in v.path]
        self.trainings.append(
            {
                "iterations": int(optimizer.iterations),
                "momenta": max(float(keras.ops.max(keras.ops.abs(v))) for v in momenta),
                "rates": [],
                "logs": [],
            }
        )

    def on_train_batch_end(self, batch, logs=None):
        self.trainings[-1]["rates"].append(float(self.model.optimizer.learning_rate))

    def on_epoch_end(self, epoch, logs=None):
        self.trainings[-1]["logs"].append(dict(logs))
