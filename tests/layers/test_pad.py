import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_gappos.layers import Pad2D
from tests.layers.layer_checks import functional_model, run_layer_test, to_numpy

# in NumPy's words
MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
every_mode = pytest.mark.parametrize("mode", MODES)


def padded(images, padding, mode):
    return np.pad(images, ((0, 0), *padding, (0, 0)), mode=MODES[mode])


def numbers(*shape):
    return np.random.default_rng(0).integers(0, 9, shape).astype("float32")


@every_mode
def test_does_what_every_layer_owes(mode):
    run_layer_test(
        Pad2D,
        {"padding": [[1, 2], [0, 3]], "mode": mode},
        (numbers(3, 4, 5, 2),),
        expected_output_shape=(3, 7, 8, 2),
        dtypes=("float16", "float32", "int32", "uint8"),
    )


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    padding=st.tuples(*[st.tuples(st.integers(0, 12), st.integers(0, 12))] * 2),
    mode=st.sampled_from(["zeros", "replicate", "circular"]),
)
def test_pads_as_numpy_does_however_small_the_map(size, padding, mode):
    x = numbers(2, *size, 3)
    layer = Pad2D(padding, mode)
    outputs = to_numpy(layer(x))
    np.testing.assert_array_equal(outputs, padded(x, padding, mode))
    assert layer.compute_output_shape(x.shape) == outputs.shape


def test_reflects_as_numpy_does_up_to_one_pixel_below_the_size():
    x = numbers(2, 4, 3, 2)
    padding = ((3, 1), (0, 2))
    outputs = to_numpy(Pad2D(padding, "reflect")(x))
    np.testing.assert_array_equal(outputs, padded(x, padding, "reflect"))


@every_mode
def test_a_map_of_unknown_size_is_padded_as_one_of_known_size(mode):
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, Pad2D(((3, 1), (0, 2)), mode)(inputs))
    assert model.output_shape == (None, None, None, 2)
    for size in [(4, 4), (7, 9), (4, 3)]:
        x = numbers(3, *size, 2)
        expected = padded(x, ((3, 1), (0, 2)), mode)
        np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


@pytest.mark.parametrize("padding", [2, (1, 2), [(1, 2), (0, 3)]])
def test_takes_the_padding_that_zero_padding_2d_takes(padding):
    x = numbers(2, 4, 5, 2)
    expected = to_numpy(keras.layers.ZeroPadding2D(padding)(x))
    np.testing.assert_array_equal(to_numpy(Pad2D(padding)(x)), expected)


def test_has_no_weights():
    assert not functional_model(Pad2D(1, "circular"), [numbers(2, 8, 8, 3)]).weights


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"padding": -1}, r"`padding` must be an integer of at least 0, a pair .*padding=-1"),
        ({"padding": 1.5}, r"`padding` must be an integer .*padding=1.5"),
        ({"padding": (1, 2, 3)}, r"`padding` must be .*padding=\(1, 2, 3\)"),
        ({"padding": ((1, 2), (3, 4), (5, 6))}, "`padding` must be .*"),
        ({"padding": "same"}, r"`padding` must be .*padding='same'"),
        ({"mode": "circle"}, r"`mode` must be one of .*'circle'. Did you mean 'circular'\?"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Pad2D(**{"padding": 1, **arguments})


@pytest.mark.parametrize("call", [lambda x: x, lambda x: keras.Input(x.shape[1:])])
def test_a_map_that_cannot_be_padded_is_rejected_with_a_remedy(call):
    with pytest.raises(ValueError, match=r"'pad' needs an input of shape \(batch, height, width"):
        Pad2D(1, name="pad")(call(np.zeros((2, 8, 8))))
    layer = Pad2D((0, 3), "reflect", name="pad")
    layer(call(np.zeros((1, 1, 4, 1))))
    message = r"(?s)'pad' reflects .* smaller than the map. Received: 9x3 .*mode='replicate'"
    with pytest.raises(ValueError, match=message):
        layer(call(np.zeros((1, 9, 3, 1))))
