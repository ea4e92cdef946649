"""Polyphase networks with circular padding: the same logits for every circular shift."""

import functools

import keras
import numpy as np
import pytest

from keras_gappos.analysis import shift_consistency
from keras_gappos.models import resnet
from tests.models.test_resnet import randomized

SIDE = 32
INVARIANT = {
    "polyphase": {"downsampling": "polyphase"},
    "blurred polyphase": {"downsampling": "polyphase", "blur_kernel": 3},
    "learned polyphase": {"downsampling": "learned_polyphase"},
    "blurred learned polyphase": {"downsampling": "learned_polyphase", "blur_kernel": 3},
}
after_training = pytest.mark.parametrize(
    "name",
    [
        "learned polyphase",
        pytest.param("polyphase", marks=pytest.mark.slow),
        pytest.param("blurred polyphase", marks=pytest.mark.slow),
    ],
)


def images(count):
    return np.random.default_rng(2).normal(size=(count, SIDE, SIDE, 3)).astype("float32")


def spread_over_shifts(model, step=1):
    """How far the logits of a shifted image are from its own, relative to the largest."""
    shifts = range(0, SIDE, step)
    (image,) = images(1)
    shifted = [np.roll(image, (down, right), (0, 1)) for down in shifts for right in shifts]
    logits = keras.ops.convert_to_numpy(model(np.stack(shifted), training=False))
    return np.abs(logits - logits[0]).max() / np.abs(logits[0]).max()


def build(**arguments):
    keras.utils.set_random_seed(3)
    return randomized(resnet(18, (SIDE, SIDE, 3), 5, width=4, **arguments))


@functools.cache
def invariant(name, trained):
    model = build(padding="circular", **INVARIANT[name])
    if trained:
        # Compiling takes longer than these steps.
        eager = keras.backend.backend() == "tensorflow"
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, run_eagerly=eager)
        model.fit(images(32), np.arange(32) % 5, batch_size=8, verbose=0)
    # So that it names several classes.
    head = model.get_layer("logits")
    logits = keras.ops.convert_to_numpy(model(images(32), training=False))
    head.bias.assign(head.bias - logits.mean(0))
    return model


@pytest.mark.parametrize("name", INVARIANT)
def test_every_circular_shift_gives_the_same_logits(name):
    assert spread_over_shifts(invariant(name, trained=False)) < 1e-4


@after_training
def test_training_does_not_change_that(name):
    assert spread_over_shifts(invariant(name, trained=True)) < 1e-4


@after_training
def test_consistency_under_circular_shifts_is_100_percent(name):
    model = invariant(name, trained=True)
    result = shift_consistency(model, images(32), "aps", fill_mode="wrap", progress=False)
    assert result.consistency == 100
    assert result.num_predicted_classes > 1


def test_a_stem_with_a_stride_is_invariant_to_even_shifts_alone():
    model = build(stem="canvas", downsampling="polyphase", padding="circular")
    assert spread_over_shifts(model, step=2) < 1e-4
    assert spread_over_shifts(model, step=5) > 1e-3


@pytest.mark.parametrize(
    "arguments",
    [
        {"downsampling": "polyphase", "padding": "zeros"},
        {"downsampling": "stride", "padding": "circular"},
        {"downsampling": "blur", "padding": "circular"},
    ],
)
def test_neither_the_pool_nor_the_padding_is_enough_alone(arguments):
    assert spread_over_shifts(build(**arguments), step=5) > 1e-3
