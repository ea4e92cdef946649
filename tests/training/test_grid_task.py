import keras
import numpy as np
import pytest
from keras import ops

import keras_gappos as kg

IMAGES, LABELS = kg.data.load("digits", "train", limit=300)
IMAGES = (IMAGES / 255).astype("float32")
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def small_gapnet(size, outputs):
    """Quick to compile, and like GAPNet without a dense layer."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((size, size, 1))
    x = keras.layers.Conv2D(16, 5, strides=3, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(outputs, 3, padding="same")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D(dtype="float32")(x))


def grid_task(outputs=9, seed=0, **kwargs):
    task = kg.GridTask(small_gapnet(24, outputs), 3, seed=seed, **kwargs)
    task.compile(keras.optimizers.Adam(0.002, beta_1=0.5), LOSS, metrics=["accuracy"])
    return task


def cells_of(task, training=True):
    return ops.convert_to_numpy(task.prepare(IMAGES, LABELS, None, training)[1])


def test_each_image_stands_on_the_cell_that_is_the_target():
    canvases, cells, _ = grid_task().prepare(IMAGES, LABELS, None, training=True)
    canvases, cells = ops.convert_to_numpy(canvases), ops.convert_to_numpy(cells)
    for canvas, cell, image in zip(canvases[:20], cells, IMAGES):
        row, column = divmod(cell, 3)
        found = canvas[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        np.testing.assert_array_equal(found, image)
        assert canvas.sum() == pytest.approx(image.sum(), rel=1e-5)  # black elsewhere


def test_cells_are_uniform_fresh_and_follow_the_seed():
    task = grid_task(seed=4)
    first, second = cells_of(task), cells_of(task)
    assert set(first) == set(range(9))
    assert np.bincount(first, minlength=9).min() > 15  # 300 images, 33 expected a cell
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, cells_of(grid_task(seed=4)))
    assert not np.array_equal(first, cells_of(grid_task(seed=5)))


def test_the_class_task_keeps_the_labels():
    task = grid_task(10, task="class")
    np.testing.assert_array_equal(cells_of(task), LABELS)


def test_flips_half_of_the_images_in_training_alone():
    task = kg.GridTask(small_gapnet(8, 1), 1, flip=True, seed=0)
    canvases = ops.convert_to_numpy(task.prepare(IMAGES, None, None, training=True)[0])
    flipped = (canvases == IMAGES[:, :, ::-1]).all((1, 2, 3))
    same = (canvases == IMAGES).all((1, 2, 3))
    assert (flipped | same).all()
    assert 110 < flipped.sum() < 190
    tested = task.prepare(IMAGES, None, None, training=False)[0]
    np.testing.assert_array_equal(ops.convert_to_numpy(tested), IMAGES)


def test_gapnet_learns_the_cell():
    task = grid_task()
    task.fit(IMAGES, LABELS, epochs=6, batch_size=20, verbose=0)
    assert task.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)["accuracy"] > 0.95


@pytest.mark.parametrize(
    "labels", [None, keras.utils.to_categorical(LABELS, 10)], ids=["none", "one-hot"]
)
def test_the_location_task_needs_no_labels_and_no_form_of_them(labels):
    history = grid_task().fit(IMAGES, labels, epochs=1, verbose=0).history
    expected = grid_task().fit(IMAGES, LABELS, epochs=1, verbose=0).history
    assert history["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    assert history["accuracy"][0] < 0.9  # a cell of nine, not one of one


def test_uint8_images_train_as_their_float_values():
    pixels = (IMAGES * 255).astype("uint8")
    one = grid_task().fit(pixels, epochs=1, shuffle=False, verbose=0).history
    other = grid_task().fit(pixels.astype("float32"), epochs=1, shuffle=False, verbose=0).history
    np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-4)


def test_round_trips_with_its_arguments(tmp_path):
    task = grid_task(10, task="class", flip=True, seed=9)
    task.fit(IMAGES[:32], LABELS[:32], verbose=0)
    task.save(tmp_path / "task.keras")
    again = keras.saving.load_model(tmp_path / "task.keras")
    for model in (again, keras.models.clone_model(task)):
        arguments = (model.grid_size, model.task, model.flip, model.seed)
        assert arguments == (3, "class", True, 9)
    canvases = np.random.default_rng(0).normal(size=(2, 24, 24, 1)).astype("float32")
    np.testing.assert_allclose(
        again.predict(canvases, verbose=0), task.predict(canvases, verbose=0), rtol=1e-5
    )
    np.testing.assert_array_equal(cells_of(again), cells_of(task))


@pytest.mark.tensorflow
def test_two_replicas_use_different_cells():
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        task = grid_task()
    cells = strategy.run(lambda: task.prepare(tf.constant(IMAGES), None, None, True)[1])
    one, other = strategy.experimental_local_results(cells)
    assert not np.array_equal(one, other)


def test_predict_says_that_it_takes_canvases():
    with pytest.raises(ValueError, match=r"`predict` take canvases of shape \(None, 24, 24, 1\)"):
        grid_task().predict(IMAGES, verbose=0)


def test_a_single_output_is_a_binary_decision():
    task = kg.GridTask(small_gapnet(24, 1), 3, task="class")
    task.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    loss = task.evaluate(IMAGES, (LABELS > 4).astype("float32")[:, None], verbose=0)
    assert np.isfinite(loss)


def two_outputs():
    network = small_gapnet(24, 9)
    return keras.Model(network.input, [network.output, network.output])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grid_task(task="place"), r"`task` must be one of .* Received: task='place'"),
        (lambda: grid_task(10), r"`model` must have 9 outputs. Received: a model with 10"),
        (
            lambda: kg.GridTask(small_gapnet(8, 1), 0),
            r"`grid_size` must be an integer of at least 1. Received: grid_size=0",
        ),
        (
            lambda: kg.GridTask(two_outputs(), 3),
            r"`model` must have one output. Received: a model with 2 outputs",
        ),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[:, :4], LABELS, r"make canvases of 12x24x1, but `model` takes 24x24x1"),
        (IMAGES[:0], LABELS[:0], r"There are no images"),
        (IMAGES[..., 0], LABELS, r"\(batch, height, width, channels\)"),
        (np.full_like(IMAGES, np.nan), LABELS, r"Images must be finite"),
        (IMAGES, LABELS + 1, r"Labels must be integers in \[0, 10\).* from 1 to 10"),
        (IMAGES, LABELS - 1, r"Labels must be integers in \[0, 10\).* from -1 to 8"),
        (IMAGES, LABELS[:, None] + 1, r"Labels must be integers in \[0, 10\).* from 1 to 10"),
        (IMAGES, LABELS + 0.5, r"Labels must be integers in \[0, 10\).* dtype=float64"),
        (IMAGES, LABELS[:5], r"a label for each image. Received: 5 labels for 300 images"),
        (ops.convert_to_tensor(IMAGES) * np.nan, LABELS, r"Images must be finite"),
        (IMAGES, None, r"task='class' needs labels"),
    ],
    ids=[
        "size",
        "empty",
        "rank",
        "nan",
        "above",
        "below",
        "column",
        "half",
        "few",
        "tensor",
        "none",
    ],
)
def test_bad_data_are_refused_before_training(images, labels, message):
    task = grid_task(10, task="class")
    for method in (task.fit, task.evaluate):
        with pytest.raises(ValueError, match=message):
            method(images, labels, verbose=0)
    assert task.optimizer.iterations == 0
