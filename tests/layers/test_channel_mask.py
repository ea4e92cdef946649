import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_gappos.layers import ChannelMask
from tests.layers.layer_checks import run_layer_test, to_numpy

DTYPES = ("float16", "bfloat16", "float32", "int8", "uint8", "int32", "bool")


def test_does_what_every_layer_owes():
    maps = np.arange(1, 37, dtype="float32").reshape(3, 2, 2, 3)
    run_layer_test(ChannelMask, {"channels": [0, 2]}, (maps,), (3, 2, 2, 3), dtypes=DTYPES)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 3), min_size=2, max_size=5),
    dtype=st.sampled_from(("uint8", "float16", "float32")),
    data=st.data(),
)
def test_equals_an_assignment_of_zero(shape, dtype, data):
    channels = data.draw(st.lists(st.integers(0, shape[-1] - 1), unique=True))
    inputs = np.random.default_rng(0).integers(1, 256, shape).astype(dtype)
    expected = inputs.copy()
    expected[..., channels] = 0
    outputs = to_numpy(ChannelMask(channels)(inputs))
    assert outputs.dtype == dtype
    np.testing.assert_array_equal(outputs, expected)


def test_without_channels_every_bit_stays():
    inputs = np.array([[-0.0, np.nan, np.inf, 1e-45]], "float32")
    outputs = to_numpy(ChannelMask([])(inputs))
    assert outputs.tobytes() == inputs.tobytes()


def test_what_is_off_is_zero_even_where_it_was_nan():
    outputs = to_numpy(ChannelMask([0])(np.array([[np.nan, np.inf]], "float32")))
    assert outputs.tolist() == [[0, np.inf]]


@pytest.mark.parametrize("channels", [range(1, 3), np.array([1, 2]), (1, np.int64(2)), {1, 2}])
def test_channels_come_as_ranges_arrays_tuples_and_sets(channels):
    layer = ChannelMask(channels)
    assert layer.get_config()["channels"] == [1, 2]
    assert to_numpy(layer(np.ones((1, 4)))).tolist() == [[1, 0, 0, 1]]


@pytest.mark.parametrize("channels", [[0.5], ["1"], "1", 3, None, [True, False], [[0, 1]]])
def test_channels_that_are_no_integers_are_rejected(channels):
    with pytest.raises(ValueError, match="`channels` must be integers"):
        ChannelMask(channels)


def test_a_channel_given_twice_is_rejected():
    with pytest.raises(ValueError, match=r"given once each. Received: \[3\] several times"):
        ChannelMask([3, 1, 3])


def test_a_negative_channel_is_rejected():
    with pytest.raises(ValueError, match=r"at least 0\. Received: channel -1"):
        ChannelMask([0, -1])


@pytest.mark.parametrize("inputs", [np.zeros((1, 3)), keras.KerasTensor((None, 2, 3))])
def test_a_channel_beyond_the_inputs_is_rejected(inputs):
    with pytest.raises(ValueError, match=r"in \[0, 3\). Received: channel 3"):
        ChannelMask([3])(inputs)


@pytest.mark.parametrize("shape", [(3,), (None, 2, None)])
def test_an_input_without_a_known_channel_axis_is_rejected(shape):
    with pytest.raises(ValueError, match="with a known number of channels"):
        ChannelMask([0])(keras.KerasTensor(shape))
