"""What AugShift refuses."""

import functools

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_gappos as kg
from tests.training.augshift_cases import (
    DIGITS,
    IMAGES,
    LABELS,
    LOSS,
    Batches,
    classifier,
    compiled,
    trained,
)


def without_pooling():
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, layers.Dense(10, name="head")(layers.Flatten(name="flat")(inputs)))


def two_inputs():
    one, other = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    x = layers.GlobalAveragePooling2D()(layers.add([one, other]))
    return keras.Model([one, other], layers.Dense(2)(x))


def of_vectors():
    inputs = keras.Input((8, 1))
    return keras.Model(inputs, layers.GlobalAveragePooling1D()(inputs))


def channels_first():
    inputs = keras.Input((3, 8, 8))
    pool = layers.GlobalAveragePooling2D(data_format="channels_first", name="pool")
    backbone = keras.Model(inputs, pool(inputs))
    inputs = keras.Input((3, 8, 8))
    return keras.Model(inputs, layers.Dense(10)(backbone(layers.Rescaling(2.0)(inputs))))


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (without_pooling, {}, r"global pooling layer.*model with layers .*'flat', 'head'"),
        (two_inputs, {}, r"`model` must be a Functional model, .* of one input"),
        (classifier, {"fill_value": np.nan}, r"`fill_value` must be a finite number.*nan"),
        (of_vectors, {}, r"`model` must take images .*input shape \(None, 8, 1\)"),
        (channels_first, {}, r"`model` must take .*, channels\).*'pool' has .*='channels_first'"),
        (classifier, {"max_shift": 8}, r"`max_shift` must be an integer in \[0, 8\).*max_shift=8"),
        (classifier, {"max_shift": -1}, r"`max_shift` must be an integer in .*max_shift=-1"),
        (classifier, {"max_shift": 0.5}, r"`max_shift` must be an integer in .*max_shift=0.5"),
        (classifier, {"consistency_weight": -1}, r"`consistency_weight` must be .* at least 0.*-1"),
        (classifier, {"consistency_weight": np.nan}, r"`consistency_weight` must be .*nan"),
        (classifier, {"consistency_weight": np.inf}, r"`consistency_weight` must be .*inf"),
        (classifier, {"consistency_weight": "1"}, r"`consistency_weight` must be .*'1'"),
        (classifier, {"fill_mode": "edge"}, r"`fill_mode` must be one of .*fill_mode='edge'"),
        (classifier, {"latent": "pool"}, r"`latent` must be a layer of `model`.*'pool'.*'latent'"),
        (classifier, {"seed": -1}, r"`seed` must be an integer in .*seed=-1"),
    ],
)
def test_bad_arguments_are_named(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        kg.AugShift(model(), **arguments)


@functools.cache
def models_by_form_of_the_loss():
    by_name = ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy", "crossentropy")
    losses = (LOSS, [LOSS], keras.losses.sparse_categorical_crossentropy, *by_name)
    return [compiled(kg.AugShift(classifier(), 3), loss) for loss in losses]


NAN = np.where(np.arange(24).reshape((24, 1, 1, 1)) == 5, np.nan, IMAGES)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (DIGITS[:24, :7], LABELS, r"model's input shape \(None, 8, 8, 1\).*\(24, 7, 8, 1\)"),
        (np.tile(IMAGES, 3), LABELS, r"model's input shape \(None, 8, 8, 1\).*\(24, 8, 8, 3\)"),
        (IMAGES[..., 0], LABELS, r"model's input shape \(None, 8, 8, 1\).*\(24, 8, 8\)"),
        (IMAGES[:0], LABELS[:0], r"There are no images"),
        (NAN, LABELS, r"Images must be finite"),
        (np.where(NAN == NAN, NAN, np.inf), LABELS, r"Images must be finite"),
        (ops.convert_to_tensor(NAN), LABELS, r"Images must be finite"),
        (IMAGES, LABELS + 1, r"Labels must be integers in \[0, 10\).* from 1 to 10"),
        (IMAGES, LABELS - 1, r"Labels must be integers in \[0, 10\).* from -1 to 8"),
        (IMAGES, LABELS[:, None] + 1, r"Labels must be integers in \[0, 10\).* from 1 to 10"),
        (IMAGES, LABELS[:5], r"a label for each image. Received: 5 labels for 24 images"),
        ([IMAGES], {"class": LABELS + 1}, r"Labels must be integers in \[0, 10\).* from 1 to 10"),
        ([IMAGES, IMAGES], LABELS, r"`x` must be one array or tensor.* structure of 2"),
    ],
    ids=[
        "height",
        "channels",
        "rank",
        "empty",
        "nan",
        "inf",
        "tensor",
        "above",
        "below",
        "column",
        "few",
        "in structures",
        "two",
    ],
)
def test_bad_data_are_refused_before_training(images, labels, message):
    for model in models_by_form_of_the_loss():
        with pytest.raises(ValueError, match=message):
            model.fit(images, labels, verbose=0)
        assert model.optimizer.iterations == 0


def test_a_stream_of_images_of_another_size_is_refused():
    class Wide(Batches):
        def __getitem__(self, index):
            images, labels = super().__getitem__(index)
            return np.repeat(images, 2, axis=2), labels

    with pytest.raises(ValueError, match=r"input shape \(None, 8, 8, 1\).*8, 16, 1\)"):
        compiled(kg.AugShift(classifier(), 3)).fit(Wide(), verbose=0)


def test_images_no_larger_than_the_shift_are_refused_where_the_model_takes_any_size():
    inputs = keras.Input((None, None, 1))
    outputs = layers.Dense(10)(layers.GlobalAveragePooling2D()(inputs))
    model = compiled(kg.AugShift(keras.Model(inputs, outputs), max_shift=8))
    with pytest.raises(ValueError, match=r"`max_shift` must be smaller .* \[0, 8\).*max_shift=8"):
        model.fit(IMAGES, LABELS, verbose=0)
    assert np.isfinite(model.train_on_batch(IMAGES.repeat(2, 1).repeat(2, 2), LABELS)).all()


def test_a_loss_that_ignores_a_class_takes_its_label():
    ignoring = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    labels = np.where(np.arange(24) % 2, -1, LABELS)
    model = compiled(kg.AugShift(classifier(), 3), ignoring, metrics=[])
    assert np.isfinite(trained(model, labels=labels, epochs=1)["loss"]).all()
