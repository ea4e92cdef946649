"""A small classifier, and what the tests of AugShift share."""

import keras
import numpy as np
from keras import layers, ops

import keras_gappos as kg

DIGITS, DIGIT_LABELS = kg.data.load("digits", "train")
DIGITS = (DIGITS / 255).astype("float32")
IMAGES, LABELS = DIGITS[:24], DIGIT_LABELS[:24]
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
PAIR_METRICS = {"consistency_loss", "shift_agreement"}

ON_TORCH = keras.backend.backend() == "torch"


def classifier(outputs=10, batch_norm=True, regularizer=None, activation=None, deep=False):
    keras.utils.set_random_seed(7)
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(6, 3, strides=2, kernel_regularizer=regularizer, name="conv")(inputs)
    x = layers.BatchNormalization(momentum=0.5, name="norm")(x) if batch_norm else x
    x = layers.ReLU()(x)
    x = layers.Conv2D(16, 2, activation="relu")(x) if deep else x
    x = layers.GlobalAveragePooling2D(name="latent")(x)
    return keras.Model(inputs, layers.Dense(outputs, activation, dtype="float32")(x))


def compiled(model, loss=LOSS, optimizer=None, metrics=("accuracy",), **kwargs):
    optimizer = optimizer or keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, loss, metrics=list(metrics), **kwargs)
    return model


def trained(model, images=IMAGES, labels=LABELS, **kwargs):
    arguments = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0, **kwargs}
    return model.fit(images, labels, **arguments).history


def twice(values, batch_size=8):
    """Each batch followed by itself, for stock training with twice the batch size."""
    starts = range(0, len(values), batch_size)
    batches = (values[start : start + batch_size] for start in starts)
    return np.concatenate([batch for batch in batches for _ in range(2)])


def pair_offsets(first, second):
    """In place of the draw: every first copy moves by `first`, every second one by `second`."""

    def draw(batch_size, max_shift, seed):
        is_first = ops.arange(batch_size)[:, None] < batch_size // 2
        return ops.where(is_first, np.array([first], "int32"), np.array([second], "int32"))

    return draw


def assert_same_weights(one, other, **tolerance):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **(tolerance or {"rtol": 1e-4, "atol": 1e-5}))


def assert_same_logs(logs, expected, rtol=1e-4):
    """The same values by the same names, but for the metrics of the pairs."""
    assert set(logs) == set(expected) | PAIR_METRICS
    for name in expected:
        np.testing.assert_allclose(logs[name], expected[name], rtol=rtol, atol=1e-6, err_msg=name)


def seen(model, images):
    """Training-mode outputs and latents of a plain classifier, by a graph made here."""
    both = keras.Model(model.input, [model.output, model.get_layer("latent").output])
    return [ops.convert_to_numpy(x) for x in both(images, training=True)]


def cross_entropy(logits, labels):
    logits = logits - logits.max(-1, keepdims=True)
    return np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(labels)), labels]


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        part = slice(8 * index, 8 * index + 8)
        return IMAGES[part], LABELS[part]
