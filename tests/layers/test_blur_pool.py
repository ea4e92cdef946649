import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy.signal import correlate2d
from scipy.special import binom

from keras_gappos.layers import BlurPool2D
from tests.layers.layer_checks import functional_model, run_layer_test, to_numpy

# in NumPy's words
PADDINGS = {"reflect": "reflect", "replicate": "edge", "zero": "constant", "circular": "wrap"}


def blur_pool(images, kernel_size=4, strides=2, padding="reflect"):
    """What BlurPool is, in NumPy and SciPy: pad, correlate, thin out."""
    taps = binom(kernel_size - 1, np.arange(kernel_size))
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    sides = ((kernel_size - 1) // 2, kernel_size // 2)
    padded = np.pad(images, ((0, 0), sides, sides, (0, 0)), mode=PADDINGS[padding])
    blurred = [
        np.stack([correlate2d(channel, kernel, mode="valid") for channel in image.T], axis=-1)
        for image in padded.transpose(0, 2, 1, 3)
    ]
    return np.stack(blurred)[:, ::strides, ::strides]


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def test_does_what_every_layer_owes():
    run_layer_test(
        BlurPool2D,
        {"kernel_size": 5, "strides": 3, "padding": "zero", "window": 4},
        (np.arange(3 * 7 * 5 * 2, dtype="float32").reshape(3, 7, 5, 2) % 9,),
        expected_output_shape=(3, 3, 2, 2),
        dtypes=("float32",),  # as the other pools it computes in its own dtype, not in the input's
    )


@pytest.mark.parametrize(
    "kernel_size, expected",
    [
        (1, [0, 2, 4, 6]),
        (2, [0.5, 2.5, 4.5, 6.5]),
        (3, [0.5, 2, 4, 6]),
        (4, [0.75, 2.5, 4.5, 6.25]),
        (5, [0.75, 2, 4, 5.875]),
        (6, [0.9375, 2.5, 4.5, 6.0625]),
        (7, [0.9375, 2.03125, 4, 5.75]),
    ],
)
def test_a_ramp_gives_the_golden_row_along_either_axis(kernel_size, expected):
    ramp = np.tile(np.arange(8.0, dtype="float32"), (9, 1))
    layer = BlurPool2D(kernel_size)
    rows = to_numpy(layer(ramp[None, :, :, None]))[0, :, :, 0]
    columns = to_numpy(layer(ramp.T[None, :, :, None]))[0, :, :, 0]
    np.testing.assert_array_equal(rows, np.tile(expected, (5, 1)))
    np.testing.assert_array_equal(columns, rows.T)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(4, 11), st.integers(4, 11)),
    kernel_size=st.integers(1, 7),
    strides=st.integers(1, 4),
    padding=st.sampled_from(sorted(PADDINGS)),
)
def test_equals_padding_and_correlation_of_scipy(size, kernel_size, strides, padding):
    x = images(2, *size, 3)
    layer = BlurPool2D(kernel_size, strides, padding)
    outputs = to_numpy(layer(x))
    np.testing.assert_allclose(outputs, blur_pool(x, kernel_size, strides, padding), atol=1e-5)
    assert layer.compute_output_shape(x.shape) == outputs.shape


@settings(max_examples=20, deadline=None)
@given(
    level=st.integers(-8, 8),
    size=st.tuples(st.integers(4, 9), st.integers(4, 9)),
    kernel_size=st.integers(2, 7),
    padding=st.sampled_from(["reflect", "replicate", "circular"]),
)
def test_keeps_what_is_even_and_removes_what_alternates(level, size, kernel_size, padding):
    layer = BlurPool2D(kernel_size, padding=padding)
    even = np.full((1, *size, 1), level, "float32")
    assert (to_numpy(layer(even)) == level).all()
    checks = (-1.0) ** np.indices(size).sum(0)[None, :, :, None]
    assert (to_numpy(BlurPool2D(kernel_size)(checks)) == 0).all()
    assert (to_numpy(BlurPool2D(1)(checks)) == 1).all()  # without a blur it passes for a flat map


def test_a_map_of_unknown_size_is_pooled_as_one_of_known_size():
    inputs = keras.Input((None, None, 2))
    outputs = {padding: BlurPool2D(padding=padding)(inputs) for padding in PADDINGS}
    assert {output.shape for output in outputs.values()} == {(None, None, None, 2)}
    model = keras.Model(inputs, outputs)
    for size in [(4, 4), (7, 9), (8, 6)]:  # from the second on TensorFlow takes any
        x = images(3, *size, 2)
        for padding, pooled in model.predict(x, verbose=0).items():
            np.testing.assert_allclose(pooled, blur_pool(x, padding=padding), atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_computes_in_the_dtype_of_the_policy(policy):
    layer = BlurPool2D(dtype=policy)
    x = images(2, 8, 8, 3)
    outputs = layer(x)
    assert keras.backend.standardize_dtype(outputs.dtype) == layer.compute_dtype
    assert functional_model(layer, [x]).outputs[0].dtype == layer.compute_dtype
    np.testing.assert_allclose(to_numpy(ops.cast(outputs, "float32")), blur_pool(x), atol=0.02)


def test_integers_are_pooled_as_numbers():
    x = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype("uint8")
    np.testing.assert_allclose(to_numpy(BlurPool2D()(x)), blur_pool(x), rtol=1e-5)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_non_finite_pixel_affects_its_channel_of_its_image_alone(bad):
    x = images(2, 16, 16, 3)
    clean = to_numpy(BlurPool2D()(x))
    x[1, 7, 8, 2] = bad
    pooled = to_numpy(BlurPool2D()(x))
    rows, columns = np.indices((8, 8))
    touched = (abs(2 * rows + 0.5 - 7) < 2) & (abs(2 * columns + 0.5 - 8) < 2)
    assert touched.sum() == 4  # of a convolution; here at least these
    assert not np.isfinite(pooled[1, touched, 2]).any()
    pooled[1, ..., 2] = clean[1, ..., 2]
    np.testing.assert_array_equal(pooled, clean)


def test_strides_may_differ_by_axis():
    x = images(2, 8, 9, 3)
    layer = BlurPool2D(3, strides=[3, 1])
    np.testing.assert_allclose(to_numpy(layer(x)), blur_pool(x, 3, 1)[:, ::3], atol=1e-6)
    assert layer.compute_output_shape(x.shape) == (2, 3, 9, 3)
    assert BlurPool2D.from_config(layer.get_config()).strides == (3, 1)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    window=st.integers(1, 7),
    strides=st.integers(1, 4),
)
def test_with_a_window_it_samples_where_a_strided_layer_does(size, window, strides):
    x = images(2, *size, 3)
    strided = keras.layers.MaxPooling2D(window, strides, "same")(x)
    dense = keras.layers.MaxPooling2D(window, 1, "same")(x)
    for inputs in (keras.Input((None, None, 3)), keras.Input((*size, 3))):
        pool = BlurPool2D(1, strides, window=window)
        sampled = keras.Model(inputs, pool(inputs))(dense)
        np.testing.assert_array_equal(to_numpy(sampled), to_numpy(strided))


def test_has_no_weights():
    model = functional_model(BlurPool2D(), [images(2, 8, 8, 3)])
    assert not model.weights


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"kernel_size": 0}, r"`kernel_size` must be an integer in \[1, 8\).*kernel_size=0"),
        ({"kernel_size": 8}, r"`kernel_size` must be an integer in \[1, 8\).*kernel_size=8"),
        ({"kernel_size": 2.5}, r"`kernel_size` must be an integer in .*kernel_size=2.5"),
        ({"strides": 0}, "`strides` must be an integer of at least 1.*strides=0"),
        ({"strides": (2, 0)}, r"`strides` must be an integer of at least 1.*strides=0"),
        ({"strides": (2, 2, 2)}, r"`strides` must be an integer or a pair.*\(2, 2, 2\)"),
        ({"window": 0}, "`window` must be an integer of at least 1.*window=0"),
        ({"window": (3,)}, r"`window` must be an integer or a pair.*\(3,\)"),
        ({"padding": "zeros"}, r"`padding` must be one of .*'zeros'. Did you mean 'zero'\?"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        BlurPool2D(**arguments)


@pytest.mark.parametrize("call", [lambda x: x, lambda x: keras.Input(x.shape[1:])])
@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 8, 8, 8, 1)])
def test_another_rank_than_4_is_rejected(shape, call):
    with pytest.raises(ValueError, match=r"'pool' needs an input of shape \(batch, height, width"):
        BlurPool2D(name="pool")(call(np.zeros(shape)))


@pytest.mark.parametrize("call", [lambda x: x, lambda x: keras.Input(x.shape[1:])])
@pytest.mark.parametrize("kernel_size, least", [(2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
def test_a_map_too_small_to_reflect_is_rejected_with_a_remedy(kernel_size, least, call):
    layer = BlurPool2D(kernel_size, name="stage4_blur")
    layer(call(np.zeros((1, least, least, 1))))
    message = (
        rf"(?s)'stage4_blur' reflects .* at least {least}x{least} pixels for "
        rf"kernel_size={kernel_size}. Received: 9x{least - 1}.*padding='replicate'"
    )
    with pytest.raises(ValueError, match=message):
        layer(call(np.zeros((1, 9, least - 1, 1))))


@pytest.mark.parametrize("padding", ["replicate", "zero", "circular"])
def test_the_other_paddings_take_a_single_pixel(padding):
    x = np.full((1, 1, 1, 1), 64.0)
    expected = 9 if padding == "zero" else 64
    assert to_numpy(BlurPool2D(padding=padding)(x)).item() == expected
