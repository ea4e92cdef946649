import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

from keras_gappos.layers import AdaptivePolyphasePool2D
from tests.layers.layer_checks import functional_model, run_layer_test, to_numpy


def polyphase_pool(images, reference=None, strides=2, norm=2):
    """What adaptive polyphase sampling is, in NumPy, a sample at a time."""
    reference = images if reference is None else reference
    sides = [(0, -n % strides) for n in images.shape[1:3]]
    images, reference = (
        np.pad(x, ((0, 0), *sides, (0, 0)), mode="wrap") for x in (images, reference)
    )
    starts = [(i, j) for i in range(strides) for j in range(strides)]

    def size(sample, start):
        component = sample[start[0] :: strides, start[1] :: strides]
        return np.linalg.norm(component.astype("float64").ravel(), float(norm))

    chosen = [max(starts, key=lambda start: size(sample, start)) for sample in reference]
    pooled = [x[i::strides, j::strides] for x, (i, j) in zip(images, chosen, strict=True)]
    return np.stack(pooled)


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 9, shape).astype("float32")


def test_does_what_every_layer_owes():
    run_layer_test(
        AdaptivePolyphasePool2D,
        {"strides": 3, "norm": 1.5},
        (numbers(3, 6, 7, 2), images(3, 6, 7, 4)),
        expected_output_shape=(3, 2, 3, 2),
        dtypes=("float16", "bfloat16", "float32", "uint8", "int32"),
    )


def test_each_sample_keeps_its_largest_component():
    first = [[0, 0, 0, 0], [9, 0, 0, 0]]  # row 1, column 0
    second = [[3, -5, 3, -5], [4, 4, 4, 4]]  # row 0, column 1
    x = np.array([first, second], "float32")[..., None]
    outputs = to_numpy(AdaptivePolyphasePool2D()(x))[..., 0]
    np.testing.assert_array_equal(outputs, [[[9, 0]], [[-5, -5]]])


@pytest.mark.parametrize(
    "norm, kept", [(1, [3, 3]), (2, [1, 4.5]), (2.0, [1, 4.5]), ("inf", [0, 4.6]), (60, [0, 4.6])]
)
def test_the_norm_decides_what_is_large(norm, kept):
    rows = np.array([[3, 1, 3, 4.5], [0, 0, 4.6, 0]], "float32")
    outputs = AdaptivePolyphasePool2D(norm=norm)(rows[None, :, :, None])
    np.testing.assert_array_equal(to_numpy(outputs).ravel(), np.array(kept, "float32"))


def test_no_power_is_too_high_and_no_number_too_small():
    x = np.array([[1, 1], [2, 1]], "float32")[None, :, :, None]
    for scale in (1e-20, 1, 1e20):
        outputs = AdaptivePolyphasePool2D(norm=40)(np.float32(scale) * x)
        assert to_numpy(outputs).item() == np.float32(scale) * 2
    assert to_numpy(AdaptivePolyphasePool2D(norm=40)(0 * x)).item() == 0


def test_of_equally_large_components_the_first_is_kept():
    x = np.array([[1, 2], [-2, 2]], "float32")[None, :, :, None]
    assert to_numpy(AdaptivePolyphasePool2D()(x)).item() == 2
    assert to_numpy(AdaptivePolyphasePool2D()(x[:, :, ::-1])).item() == 2
    assert to_numpy(AdaptivePolyphasePool2D()(x[:, ::-1])).item() == -2


@settings(max_examples=25, deadline=None)
@given(
    size=st.sampled_from([(6, 8), (5, 7), (2, 9)]),  # few shapes: JAX compiles for each
    strides=st.integers(1, 4),
    norm=st.sampled_from([0.5, 1, 2, 3, "inf"]),
    referred=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equals_the_definition(size, strides, norm, referred, seed):
    x = images(3, *size, 2, seed=seed)
    reference = images(3, *size, 5, seed=seed + 1) if referred else None
    layer = AdaptivePolyphasePool2D(strides, norm)
    outputs = to_numpy(layer(x, reference=reference))
    np.testing.assert_array_equal(outputs, polyphase_pool(x, reference, strides, norm))
    assert layer.compute_output_shape(x.shape) == outputs.shape


@settings(max_examples=25, deadline=None)
@given(
    strides=st.integers(1, 3),
    cells=st.sampled_from([(1, 4), (3, 2)]),
    shift=st.tuples(st.integers(0, 11), st.integers(0, 11)),
    seed=st.integers(0, 99),
)
def test_a_circular_shift_of_the_input_only_shifts_the_output(strides, cells, shift, seed):
    layer = AdaptivePolyphasePool2D(strides)
    x = images(4, *(n * strides for n in cells), 3, seed=seed)
    pooled = to_numpy(layer(x))
    shifted = to_numpy(layer(np.roll(x, shift, axis=(1, 2))))
    for before, after in zip(pooled, shifted, strict=True):
        rolls = [np.roll(before, (i, j), (0, 1)) for i, j in np.ndindex(cells)]
        assert any((after == roll).all() for roll in rolls)


def test_a_shortcut_follows_the_main_path_under_shifts():
    layer = AdaptivePolyphasePool2D()
    x, reference = images(4, 6, 8, 3), images(4, 6, 8, 5, seed=1)
    both = np.concatenate([x, reference], axis=-1)
    for shift in [(0, 1), (1, 0), (3, 5)]:
        s, r = (np.roll(t, shift, axis=(1, 2)) for t in (x, reference))
        together = to_numpy(layer(np.concatenate([s, r], axis=-1), reference=r))
        np.testing.assert_array_equal(to_numpy(layer(s, reference=r)), together[..., :3])
        np.testing.assert_array_equal(to_numpy(layer(r)), together[..., 3:])
    assert (to_numpy(layer(both, reference=reference))[..., :3] != to_numpy(layer(x))).any()


def components(x, strides=2):
    """All polyphase components `(strides**2, batch, ...)`."""
    return np.stack([x[:, i::strides, j::strides] for i, j in np.ndindex(strides, strides)])


def bits(x):
    return np.ascontiguousarray(x).view("uint32")


@settings(max_examples=60, deadline=None)
@given(
    x=arrays("float32", (2, 4, 6, 2), elements=st.floats(width=32, allow_nan=False)),
    norm=st.sampled_from([0.5, 1, 2, 3, "inf"]),
)
def test_every_output_is_a_largest_component_bit_for_bit(x, norm):
    pooled = to_numpy(AdaptivePolyphasePool2D(norm=norm)(x))
    for sample, kept in zip(components(x).swapaxes(0, 1), pooled):
        same = [(bits(one) == bits(kept)).all() for one in sample]
        assert any(same)
        scale = max(float(np.abs(sample).max()), 1e-30)  # below, some processors count nothing
        if scale == np.inf:
            assert np.isinf(kept).any()
            continue
        # XLA on CPUs counts subnormal values as zero.
        flushed = np.where(np.abs(sample) < np.finfo("float32").tiny, 0, sample)
        assert any(is_largest(part, same.index(True), scale, norm) for part in (sample, flushed))


def is_largest(components, index, scale, norm):
    scaled = components.reshape(len(components), -1) / np.float64(scale)
    norms = [np.linalg.norm(one, float(norm)) for one in scaled]
    return norms[index] >= max(norms) * (1 - 1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_largest_is_kept_at_every_scale(dtype, jit_compile):
    scales = [1e-4, 1, 1e3] if dtype == "float16" else [1e-30, 1e-24, 1e-6, 1, 1e13, 1e20, 3e37]
    x = np.ones((len(scales), 4, 4, 3), "float32")
    x[:, 1::2, 0::2] = 2  # the third component
    x = ops.cast(x * np.array(scales, "float32")[:, None, None, None], dtype)
    inputs = keras.Input(x.shape[1:], dtype=dtype)
    outputs = [AdaptivePolyphasePool2D(norm=norm)(inputs) for norm in (0.5, 1, 2, 3, "inf")]
    model = keras.Model(inputs, outputs)
    model.compile(jit_compile=jit_compile)
    third = components(to_numpy(ops.cast(x, "float32")))[2]
    for pooled in model.predict(x, verbose=0):
        np.testing.assert_array_equal(to_numpy(ops.cast(pooled, "float32")), third)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_what_was_not_chosen_reaches_neither_output_nor_gradient(bad, jit_compile):
    x, reference = images(5, 4, 6, 2), images(5, 4, 6, 3, seed=1)
    marks = np.broadcast_to(np.arange(24.0, dtype="float32").reshape(4, 6, 1), x.shape)
    chosen = to_numpy(AdaptivePolyphasePool2D()(marks, reference=reference))
    spoiled = np.where([np.isin(*pair) for pair in zip(marks, chosen)], x, np.float32(bad))
    variable = Variable()
    inputs = [keras.Input(array.shape[1:]) for array in (x, reference)]
    outputs = AdaptivePolyphasePool2D()(variable(inputs[0]), reference=inputs[1])
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=jit_compile)
    pooled = model.predict([spoiled, reference], verbose=0)
    np.testing.assert_array_equal(pooled, polyphase_pool(x, reference))
    model.train_on_batch([spoiled, reference], pooled + 1)
    assert np.isfinite(variable.get_weights()[0]).all()


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("norm", [0.5, 1, 2, 3, "inf"])
def test_a_value_that_is_not_finite_makes_its_component_the_largest(norm, bad):
    x = images(4, 4, 4, 2)
    for i, (row, column) in enumerate([(0, 0), (2, 3), (1, 0), (3, 3)]):
        x[i, row, column, 1] = (-1) ** i * bad
    pooled = to_numpy(AdaptivePolyphasePool2D(norm=norm)(x))
    np.testing.assert_array_equal(pooled, [components(x)[i, i] for i in range(4)])


class Variable(keras.layers.Layer):
    """Its input plus a weight that starts at zero."""

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=input_shape[1:], initializer="zeros")

    def call(self, inputs):
        return inputs + self.kernel


@settings(max_examples=15, deadline=None)
@given(
    strides=st.integers(1, 3),
    norm=st.sampled_from([1, 2, 3, "inf"]),
    scale=st.sampled_from([1e-24, 1.0, 1e20]),
    seed=st.integers(0, 99),
)
def test_the_gradient_goes_to_the_chosen_component_alone(strides, norm, scale, seed):
    height, width = 2 * strides, 3 * strides
    x = images(1, height, width, 2, seed=seed) * np.float32(scale)
    upstream = images(1, 2, 3, 2, seed=seed + 1)
    inputs = keras.Input((height, width, 2))
    variable = Variable()
    pool = AdaptivePolyphasePool2D(strides, norm)
    model = keras.Model(inputs, pool(variable(inputs)))
    model.compile(
        keras.optimizers.SGD(1.0),
        lambda weights, y: ops.sum(weights * y, (1, 2, 3)),
        run_eagerly=keras.backend.backend() == "tensorflow",  # nothing to compile at each example
    )
    model.train_on_batch(x, upstream)
    (step,) = variable.get_weights()
    marks = np.arange(height * width, dtype="float32").reshape(1, height, width, 1)
    chosen = to_numpy(pool(marks, reference=x)).astype(int).ravel()
    expected = np.zeros((height * width, 2), "float32")
    expected[chosen] = -upstream.reshape(6, 2)
    np.testing.assert_array_equal(step.reshape(-1, 2), expected)


def test_a_map_of_unknown_size_is_pooled_as_one_of_known_size():
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, AdaptivePolyphasePool2D()(inputs, reference=ops.abs(inputs)))
    assert model.output_shape == (None, None, None, 2)
    for size in [(4, 4), (6, 8), (7, 5)]:  # from the second on TensorFlow takes any
        x = images(3, *size, 2)
        np.testing.assert_array_equal(model.predict(x, verbose=0), polyphase_pool(x))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_chooses_by_norms_of_single_precision(policy):
    x = np.full((1, 64, 64, 8), 15.0, "float32")
    x[:, 1::2, 1::2] = 16.0  # squares of 256, 8192 of them: more than float16 can count
    layer = AdaptivePolyphasePool2D(dtype=policy)
    outputs = layer(ops.cast(x, layer.compute_dtype))
    assert keras.backend.standardize_dtype(outputs.dtype) == layer.compute_dtype
    assert functional_model(layer, [x]).outputs[0].dtype == "float32"  # nothing is cast
    assert (to_numpy(ops.cast(outputs, "float32")) == 16).all()


def test_infinity_is_kept_as_a_word_that_json_knows():
    layer = AdaptivePolyphasePool2D(norm=float("inf"))
    assert layer.get_config()["norm"] == "inf"
    assert AdaptivePolyphasePool2D.from_config(layer.get_config()).norm == "inf"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"strides": 0}, "`strides` must be an integer of at least 1.*strides=0"),
        ({"strides": 1.5}, "`strides` must be an integer of at least 1.*strides=1.5"),
        ({"norm": 0}, '`norm` must be a number above 0 or "inf". Received: norm=0'),
        ({"norm": -1}, "`norm` must be a number above 0.*norm=-1"),
        ({"norm": "l2"}, "`norm` must be a number above 0.*norm='l2'"),
        ({"norm": float("nan")}, "`norm` must be a number above 0.*norm=nan"),
        ({"norm": None}, "`norm` must be a number above 0.*norm=None"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        AdaptivePolyphasePool2D(**arguments)


@pytest.mark.parametrize("call", [lambda x: x, lambda x: keras.Input(x.shape[1:])])
@pytest.mark.parametrize(
    "shape, reference, message",
    [
        ((2, 8, 8), None, r"'pool' needs an input of shape \(batch, height, width, channels\)"),
        ((2, 1, 8, 1), None, "'pool' needs a map whose sides .* half of its strides.*1x8.*=3"),
        ((2, 8, 8, 1), (2, 8, 7, 1), r"(?s)`reference` must have .*'pool'.*8, 7, 1\).*8, 8, 1\)"),
        ((2, 8, 8, 1), (2, 8, 8), "`reference` must have the batch, height and width"),
    ],
)
def test_inputs_that_do_not_fit_are_rejected(shape, reference, message, call):
    layer = AdaptivePolyphasePool2D(3, name="pool")
    arrays = [call(np.zeros(s)) for s in (shape, reference) if s]
    with pytest.raises(ValueError, match=message):
        layer(*arrays)


def test_a_reference_for_another_number_of_samples_is_rejected():
    with pytest.raises(ValueError, match=r"`reference` must have .*\(1, 4, 4, 1\).*\(2, 4, 4, 1\)"):
        AdaptivePolyphasePool2D()(np.zeros((2, 4, 4, 1)), reference=np.zeros((1, 4, 4, 1)))
