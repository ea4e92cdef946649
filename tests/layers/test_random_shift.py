import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_gappos.layers import RandomShift, shift_images
from tests.layers.layer_checks import functional_model, run_layer_test, to_numpy

NUMPY_MODES = {"constant": "constant", "nearest": "edge", "reflect": "symmetric", "wrap": "wrap"}
IMAGES = np.random.default_rng(0).integers(0, 200, (4, 5, 6, 2)).astype("float32")

offsets_beyond_the_image = st.lists(
    st.tuples(st.integers(-14, 14), st.integers(-14, 14)), min_size=4, max_size=4
).map(lambda pairs: np.array(pairs, "int32"))
every_fill_mode = pytest.mark.parametrize("fill_mode", NUMPY_MODES)


@keras.saving.register_keras_serializable(package="tests")
class AlwaysShifting(RandomShift):
    """Shifts in `predict`, too, so that all that a layer owes is asked of its draws."""

    def call(self, images, training=None):
        return super().call(images, training=True)


@keras.saving.register_keras_serializable(package="tests")
class NeverShifting(RandomShift):
    """A `RandomShift` as it is in inference."""

    def call(self, images, training=None):
        return super().call(images, training=False)


def shifted(images, offsets, *args):
    return to_numpy(shift_images(images, np.array(offsets), *args))


def shifted_by_padding(image, offset, *args):
    """One image, by an independent implementation: pad widely, then cut out."""
    mode, *value = args
    fill = {"constant_values": value[0]} if value else {}
    padded = np.pad(image, ((16, 16), (16, 16), (0, 0)), NUMPY_MODES[mode], **fill)
    down, right = offset
    height, width = image.shape[:2]
    return padded[16 - down : 16 - down + height, 16 - right : 16 - right + width]


def dots(count, size=7):
    """Images that are black but for the pixel in the middle."""
    images = np.zeros((count, size, size, 1), "float32")
    images[:, size // 2, size // 2] = 1.0
    return images


def offsets_of(images):
    """By how much each of the `dots` was moved, (down, right)."""
    images = to_numpy(images)
    assert (images.astype(int).sum((1, 2, 3)) == 1).all()
    return np.argwhere(images[..., 0])[:, 1:] - images.shape[1] // 2


def offsets_drawn(layer, count=16):
    return offsets_of(layer(dots(count), training=True))


@pytest.mark.parametrize(
    ("fill_mode", "offset", "expected"),
    [
        ("constant", 1, [9, 1, 2, 3]),
        ("constant", -1, [2, 3, 4, 9]),
        ("constant", 4, [9, 9, 9, 9]),
        ("nearest", 2, [1, 1, 1, 2]),
        ("nearest", -9, [4, 4, 4, 4]),
        ("reflect", 2, [2, 1, 1, 2]),
        ("reflect", -2, [3, 4, 4, 3]),
        ("reflect", 6, [3, 4, 4, 3]),
        ("wrap", 1, [4, 1, 2, 3]),
        ("wrap", -6, [3, 4, 1, 2]),
    ],
)
def test_golden_rows_and_columns(fill_mode, offset, expected):
    row = np.array([1.0, 2, 3, 4]).reshape((1, 1, 4, 1))
    moved = shifted(row, [[0, offset]], fill_mode, 9.0)
    assert moved.ravel().tolist() == expected
    column = row.reshape((1, 4, 1, 1))
    moved = shifted(column, [[offset, 0]], fill_mode, 9.0)
    assert moved.ravel().tolist() == expected


def test_a_positive_offset_moves_the_content_down_and_right():
    image = np.array([[1.0, 2], [3, 4]]).reshape((1, 2, 2, 1))
    assert shifted(image, [[1, 1]])[0, ..., 0].tolist() == [[0, 0], [0, 1]]
    assert shifted(image, [[-1, 0]])[0, ..., 0].tolist() == [[3, 4], [0, 0]]


@every_fill_mode
@settings(max_examples=25, deadline=None)
@given(offsets=offsets_beyond_the_image)
def test_each_image_is_padded_and_cut_as_by_numpy(fill_mode, offsets):
    arguments = (fill_mode, 7.0) if fill_mode == "constant" else (fill_mode,)
    expected = [shifted_by_padding(*pair, *arguments) for pair in zip(IMAGES, offsets)]
    np.testing.assert_array_equal(shifted(IMAGES, offsets, *arguments), np.stack(expected))


@every_fill_mode
@settings(max_examples=15, deadline=None)
@given(offsets=offsets_beyond_the_image)
def test_the_inverse_offset_undoes_a_shift_inside_the_frame(fill_mode, offsets):
    back = shifted(shifted(IMAGES, offsets, fill_mode), -offsets, fill_mode)
    stayed = shifted(shifted(np.ones_like(IMAGES), offsets), -offsets) == 1
    np.testing.assert_array_equal(back[stayed], IMAGES[stayed])
    rows, columns = (np.maximum(n - np.abs(offsets[:, i]), 0) for i, n in enumerate((5, 6)))
    assert stayed.sum() == (rows * columns * 2).sum()
    if fill_mode == "wrap":
        np.testing.assert_array_equal(back, IMAGES)


@settings(max_examples=15, deadline=None)
@given(first=offsets_beyond_the_image, second=offsets_beyond_the_image)
def test_shifts_that_wrap_add_up(first, second):
    twice = shifted(shifted(IMAGES, first, "wrap"), second, "wrap")
    np.testing.assert_array_equal(twice, shifted(IMAGES, first + second, "wrap"))


@every_fill_mode
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "bfloat16", "bool"])
def test_the_dtype_stays(fill_mode, dtype):
    images = ops.cast(IMAGES > 99 if dtype == "bool" else IMAGES, dtype)
    moved = shift_images(images, np.full((4, 2), -2), fill_mode)
    assert keras.backend.standardize_dtype(moved.dtype) == dtype
    expected = shifted(ops.cast(images, "float32"), np.full((4, 2), -2), fill_mode)
    np.testing.assert_array_equal(to_numpy(ops.cast(moved, "float32")), expected)


def test_integer_images_are_filled_with_a_whole_number_of_their_dtype():
    images = np.zeros((1, 2, 2, 1), "uint8")
    assert shifted(images, [[1, 0]], "constant", 255).ravel().tolist() == [255, 255, 0, 0]
    assert shifted(images, [[1, 0]], "constant", 3.0).ravel().tolist() == [3, 3, 0, 0]


@pytest.mark.parametrize("training", [False, True])
def test_does_what_every_layer_owes(training):
    arguments = {"max_shift": 2, "fill_mode": "constant", "fill_value": 7.0, "seed": 3}
    run_layer_test(
        AlwaysShifting if training else NeverShifting,
        arguments,
        (IMAGES[:3],),
        expected_output_shape=(3, 5, 6, 2),
        random=training,
        dtypes=("float16", "float32", "uint8"),
        differentiable=training,  # the identity needs no XLA to be so
    )


@every_fill_mode
def test_every_argument_survives_a_round_trip(fill_mode, tmp_path):
    layer = AlwaysShifting(3, fill_mode, 0.25, seed=8, name="moved")
    model = functional_model(layer, [IMAGES])
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    expected = to_numpy(layer(IMAGES))
    for one in (reloaded, keras.models.clone_model(model)):
        again = one.get_layer("moved")
        arguments = (again.max_shift, again.fill_mode, again.fill_value, again.seed)
        assert arguments == (3, fill_mode, 0.25, 8)
        np.testing.assert_array_equal(to_numpy(one(IMAGES)), expected)


def test_is_the_identity_unless_training():
    layer = RandomShift(2, seed=0)
    np.testing.assert_array_equal(to_numpy(layer(IMAGES, training=False)), IMAGES)
    assert (to_numpy(layer(IMAGES, training=True)) != IMAGES).any()
    np.testing.assert_array_equal(to_numpy(RandomShift(0)(IMAGES, training=True)), IMAGES)


def test_shifts_where_a_stock_augmentation_layer_does():
    def changes(layer):
        model = functional_model(layer, [IMAGES])
        model.compile(loss="mse")
        trained = keras.Model(model.input, keras.layers.Rescaling(1.0)(model.outputs[0]))
        trained.compile("sgd", "mse")
        by_call = {
            "layer": layer(IMAGES),
            "layer, None": layer(IMAGES, training=None),
            "layer, False": layer(IMAGES, training=False),
            "layer, True": layer(IMAGES, training=True),
            "model": model(IMAGES),
            "model, False": model(IMAGES, training=False),
            "Sequential": keras.Sequential([layer])(IMAGES),
            "predict": model.predict(IMAGES, verbose=0),
        }
        changed = {key: (to_numpy(value) != IMAGES).any() for key, value in by_call.items()}
        changed["evaluate"] = model.evaluate(IMAGES, IMAGES, verbose=0) > 0
        changed["fit"] = trained.fit(IMAGES, IMAGES, verbose=0).history["loss"][0] > 0
        return changed

    expected = changes(keras.layers.RandomTranslation(0.4, 0.4, seed=1))
    assert changes(RandomShift(2, seed=0)) == expected
    assert expected["layer"] and expected["fit"] and not expected["predict"]


def test_all_offsets_of_the_range_are_equally_likely():
    drawn = offsets_drawn(RandomShift(2, seed=0), 5000)
    kinds, counts = np.unique(drawn, axis=0, return_counts=True)
    assert kinds.tolist() == [[i, j] for i in range(-2, 3) for j in range(-2, 3)]
    assert ((counts - 200) ** 2 / 200).sum() < 59  # chi-square, 24 degrees: 1 in 10,000 by chance


def test_each_image_of_each_call_moves_by_an_offset_of_its_own():
    layer = RandomShift(3, seed=0)
    first, second = offsets_drawn(layer), offsets_drawn(layer)
    assert len(np.unique(first, axis=0)) > 8
    assert (first != second).any()


def test_the_seed_decides_the_offsets():
    one, same, other, unseeded = (RandomShift(3, seed=seed) for seed in (5, 5, 6, None))
    for _ in range(2):
        expected = offsets_drawn(one)
        np.testing.assert_array_equal(offsets_drawn(same), expected)
        assert (offsets_drawn(other) != expected).any()
        assert (offsets_drawn(unseeded) != expected).any()


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_reloaded_layer_goes_on_where_the_saved_one_stood(suffix, tmp_path):
    model = functional_model(RandomShift(3), [dots(16)])  # seed=None: another one each time
    model(dots(16), training=True)
    path = tmp_path / f"model{suffix}"
    if suffix == ".keras":
        model.save(path)
        reloaded = keras.saving.load_model(path)
    else:
        model.save_weights(path)
        reloaded = keras.models.clone_model(model)
        reloaded.load_weights(path)
    for _ in range(2):
        np.testing.assert_array_equal(offsets_drawn(reloaded), offsets_drawn(model))


def test_one_image_moves_as_a_batch_of_one_does():
    one, batch = RandomShift(3, seed=1), RandomShift(3, seed=1)
    for _ in range(3):
        moved = one(dots(1)[0], training=True)
        assert tuple(moved.shape) == (7, 7, 1)
        np.testing.assert_array_equal(moved, batch(dots(1), training=True)[0])


def test_images_of_unknown_size_move():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, AlwaysShifting(2, fill_mode="wrap", seed=0)(inputs))
    assert model.output_shape == (None, None, None, 3)
    for shape in ((5, 4, 6, 3), (3, 9, 3, 3)):
        images = np.random.default_rng(0).random(shape).astype("float32")
        moved = model.predict(images, verbose=0)
        np.testing.assert_array_equal(*(np.sort(x, axis=None) for x in (moved, images)))
        assert (moved != images).any()
    with pytest.raises(ValueError, match=r"must be smaller than the image, in \[0, 2\)"):
        model(np.zeros((1, 9, 2, 3)))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_augments_a_model_under_fit_and_not_under_evaluate(jit_compile):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 6, 2))
    x = keras.layers.Flatten()(RandomShift(2, seed=0)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=jit_compile)
    targets = np.ones(4)
    still = model.evaluate(IMAGES, targets, verbose=0)
    losses = model.fit(IMAGES, targets, epochs=3, verbose=0).history["loss"]
    assert len({still, *losses}) == 4
    assert model.evaluate(IMAGES, targets, verbose=0) == still


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("batched", [True, False])
def test_augments_a_tf_data_set_on_every_backend(batched, dtype):
    tf = pytest.importorskip("tensorflow")
    layer = RandomShift(2, seed=0)
    images = tf.data.Dataset.from_tensor_slices(dots(64).astype(dtype))
    images = images.batch(48) if batched else images
    moved = images.map(layer, num_parallel_calls=2)
    assert moved.element_spec.shape.as_list() == images.element_spec.shape.as_list()
    assert moved.element_spec.dtype == dtype
    moved = moved.unbatch() if batched else moved
    passes = [offsets_of(np.stack(list(moved.as_numpy_iterator()))) for _ in range(2)]
    assert (passes[0] != passes[1]).any()
    for drawn in passes:
        assert np.abs(drawn).max() == 2
        assert len(np.unique(drawn, axis=0)) > 15  # 64 draws of 25 offsets
    untouched = images.map(lambda x: layer(x, training=False)).as_numpy_iterator()
    np.testing.assert_array_equal(next(untouched), next(images.as_numpy_iterator()))


@every_fill_mode
def test_tensorflow_tensors_move_as_on_the_backend(fill_mode):
    tf = pytest.importorskip("tensorflow")
    layer = RandomShift(4, fill_mode, fill_value=3, seed=0)
    moved = layer(tf.constant(IMAGES, "uint8"), training=True)
    assert moved.dtype == "uint8"
    for image, outcome in zip(IMAGES, moved.numpy()):
        arguments = (fill_mode, 3) if fill_mode == "constant" else (fill_mode,)
        candidates = [
            shifted_by_padding(image, (down, right), *arguments)
            for down in range(-4, 5)
            for right in range(-4, 5)
        ]
        assert any(np.array_equal(outcome, candidate) for candidate in candidates)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_shift": -1}, r"`max_shift` must be an integer of at least 0.*max_shift=-1"),
        ({"max_shift": 1.5}, r"`max_shift` must be an integer .*max_shift=1.5"),
        (
            {"fill_mode": "wrapp"},
            r"`fill_mode` must be one of \('constant', 'nearest', 'reflect', 'wrap'\)"
            r".*Did you mean 'wrap'",
        ),
        ({"fill_value": np.nan}, r"`fill_value` must be a finite number.*fill_value=nan"),
        ({"fill_value": "0"}, r"`fill_value` must be a finite number.*fill_value='0'"),
        ({"seed": -1}, r"`seed` must be an integer in \[0, 4294967296\).*seed=-1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        RandomShift(**{"max_shift": 1, **arguments})


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("arguments", "images", "message"),
    [
        ({"max_shift": 5}, IMAGES, r"in \[0, 5\)\. Received: max_shift=5, .*\(4, 5, 6, 2\)"),
        ({"max_shift": 5}, IMAGES[0], r"in \[0, 5\)\. Received: max_shift=5, .*\(5, 6, 2\)"),
        ({"max_shift": 1}, IMAGES[0, 0], r"\(height, width, channels\).*shape=\(6, 2\)"),
        (
            {"max_shift": 1, "fill_value": 0.5},
            IMAGES.astype("uint8"),
            r"`fill_value` must be a whole number in \[0, 255\] .*uint8.*fill_value=0.5",
        ),
        (
            {"max_shift": 1, "fill_value": -1},
            IMAGES.astype("uint8"),
            r"`fill_value` must be a whole number in \[0, 255\].*fill_value=-1",
        ),
    ],
    ids=["large", "large for one", "rank", "half", "negative"],
)
def test_images_that_do_not_fit_are_rejected(arguments, images, message, training):
    with pytest.raises(ValueError, match=message):
        RandomShift(**arguments)(images, training=training)


@pytest.mark.parametrize(
    ("images", "offsets", "arguments", "message"),
    [
        (IMAGES[0], [[0, 0]], (), r"`images` must be of shape .*shape=\(5, 6, 2\)"),
        (IMAGES, [[0, 0]], (), r"`offsets` must be of shape \(batch, 2\).*\(1, 2\) for 4 images"),
        (IMAGES, [0, 0], (), r"`offsets` must be of shape \(batch, 2\).*\(2,\) for 4 images"),
        (IMAGES, [[0, 0, 0]] * 4, (), r"`offsets` must be of shape \(batch, 2\).*\(4, 3\)"),
        (IMAGES, [[0.5, 0]] * 4, (), r"`offsets` must be integers.*float"),
        (IMAGES, [[0, 0]] * 4, ("edge",), r"`fill_mode` must be one of .*'edge'"),
        (IMAGES, [[0, 0]] * 4, ("constant", np.inf), r"`fill_value` must be a finite .*inf"),
        (
            IMAGES.astype("uint8"),
            [[0, 0]] * 4,
            ("constant", 256),
            r"`fill_value` must be a whole number in \[0, 255\].*fill_value=256",
        ),
    ],
)
def test_bad_arguments_of_the_function_are_named(images, offsets, arguments, message):
    with pytest.raises(ValueError, match=message):
        shift_images(images, np.array(offsets), *arguments)
