import itertools
import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_gappos.layers import ChannelPermutation
from tests.layers.layer_checks import functional_model, run_layer_test, to_numpy

MODES = ("batch", "sample", "fixed")


def numbered(*shape):
    return np.arange(math.prod(shape), dtype="float32").reshape(shape)


def permutations(layer, channels=16, samples=1):
    """The permutation that each sample got in one call."""
    return to_numpy(layer(np.tile(np.arange(channels, dtype="int32"), (samples, 1))))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "shape, data_format",
    [((3, 6), "channels_last"), ((3, 5, 2, 4), "channels_first")],
)
def test_does_what_every_layer_owes(mode, shape, data_format):
    run_layer_test(
        ChannelPermutation,
        {"mode": mode, "data_format": data_format, "seed": 3},
        (numbered(*shape),),
        expected_output_shape=shape,
        random=mode != "fixed",
        dtypes=("float16", "bfloat16", "float32", "int8", "uint8", "int32", "bool"),
    )


@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=5),
    mode=st.sampled_from(MODES),
    data_format=st.sampled_from(("channels_last", "channels_first")),
    seed=st.integers(0, 2**32 - 1),
)
def test_whole_channels_change_places_and_nothing_else(shape, mode, data_format, seed):
    outputs = to_numpy(ChannelPermutation(mode, data_format, seed)(numbered(*shape)))
    axis = 1 if data_format == "channels_first" else len(shape) - 1
    # The value says where it came from: from its own place but for the channel,
    # and from the same channel all over the sample.
    came_from = np.unravel_index(outputs.astype(int), shape)
    is_at = np.indices(shape)
    for other in set(range(len(shape))) - {axis}:
        np.testing.assert_array_equal(came_from[other], is_at[other])
    channels = np.moveaxis(came_from[axis], axis, -1).reshape(shape[0], -1, shape[axis])
    np.testing.assert_array_equal(channels, np.broadcast_to(channels[:, :1], channels.shape))
    assert (np.sort(channels[:, 0]) == np.arange(shape[axis])).all()
    if mode != "sample":
        np.testing.assert_array_equal(
            channels[:, 0], np.broadcast_to(channels[0, 0], channels[:, 0].shape)
        )


def test_batch_mode_shares_one_permutation_and_draws_a_fresh_one_each_call():
    layer = ChannelPermutation("batch", seed=0)
    first, second = permutations(layer, samples=8), permutations(layer, samples=8)
    assert (first == first[0]).all()
    assert (second == second[0]).all()
    assert (first[0] != second[0]).any()


def test_sample_mode_draws_another_permutation_for_each_sample_and_call():
    layer = ChannelPermutation("sample", seed=0)
    drawn = np.concatenate([permutations(layer, samples=8), permutations(layer, samples=8)])
    assert len(np.unique(drawn, axis=0)) == 16


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mode, differ", [("batch", True), ("sample", True), ("fixed", False)])
def test_calls_differ_in_training_and_in_inference_unless_fixed(mode, differ, training):
    inputs = numbered(1, 16)
    model = functional_model(ChannelPermutation(mode, seed=0), [inputs])
    first, second = (to_numpy(model(inputs, training=training)) for _ in range(2))
    assert (first != second).any() == differ


def test_predict_draws_a_fresh_permutation_for_each_batch():
    inputs = np.tile(numbered(1, 16), (6, 1))
    model = functional_model(ChannelPermutation("batch", seed=0), [inputs])
    outputs = model.predict(inputs, batch_size=2, verbose=0)
    np.testing.assert_array_equal(outputs[::2], outputs[1::2])
    assert len(np.unique(outputs, axis=0)) == 3


@pytest.mark.parametrize("mode", MODES)
def test_permutes_under_xla(mode):
    inputs = np.tile(numbered(1, 16), (6, 1))
    model = functional_model(ChannelPermutation(mode, seed=0), [inputs])
    model.compile(jit_compile=True)
    outputs = model.predict(inputs, batch_size=3, verbose=0)
    np.testing.assert_array_equal(np.sort(outputs), inputs)
    assert len(np.unique(outputs, axis=0)) == {"batch": 2, "sample": 6, "fixed": 1}[mode]


def test_fixed_permutation_of_a_seed_is_the_same_on_every_backend():
    layer = ChannelPermutation("fixed", seed=0)
    assert permutations(layer, channels=8)[0].tolist() == [2, 4, 3, 6, 5, 0, 1, 7]


@pytest.mark.parametrize("mode", MODES)
def test_the_seed_decides_the_permutations(mode):
    one, same, other, unseeded = (ChannelPermutation(mode, seed=s) for s in (5, 5, 6, None))
    for _ in range(2):
        expected = permutations(one, samples=3)
        np.testing.assert_array_equal(permutations(same, samples=3), expected)
        assert (permutations(other, samples=3) != expected).any()
        assert (permutations(unseeded, samples=3) != expected).any()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_reloaded_layer_goes_on_where_the_saved_one_stood(mode, suffix, tmp_path):
    inputs = np.tile(numbered(1, 16), (3, 1))
    model = functional_model(ChannelPermutation(mode), [inputs])  # seed=None: another each time
    model(inputs), model(inputs)
    path = tmp_path / f"model{suffix}"
    if suffix == ".keras":
        model.save(path)
        reloaded = keras.saving.load_model(path)
    else:
        model.save_weights(path)
        reloaded = keras.models.clone_model(model)
        reloaded.load_weights(path)
    for _ in range(2):
        np.testing.assert_array_equal(to_numpy(reloaded(inputs)), to_numpy(model(inputs)))


@pytest.mark.parametrize("mode", ["batch", "sample"])
def test_all_permutations_are_equally_likely(mode):
    layer = ChannelPermutation(mode, seed=0)
    if mode == "sample":
        drawn = permutations(layer, channels=4, samples=2400)
    else:
        drawn = np.concatenate([permutations(layer, channels=4) for _ in range(480)])
    kinds, counts = np.unique(drawn, axis=0, return_counts=True)
    assert kinds.tolist() == [list(kind) for kind in itertools.permutations(range(4))]
    mean = len(drawn) / 24
    assert ((counts - mean) ** 2 / mean).sum() < 55  # chi-square, 23 degrees: 1 in 5,000 by chance


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"mode": "shuffle"}, r"`mode` must be one of \('batch', 'sample', 'fixed'\).*'shuffle'"),
        (
            {"data_format": "last"},
            r"`data_format` must be one of \('channels_last', 'channels_first'\).*'last'",
        ),
        ({"seed": -1}, r"`seed` must be an integer in \[0, 4294967296\).*seed=-1"),
        ({"seed": 2**32}, r"`seed` must be an integer in .*seed=4294967296"),
        ({"seed": 0.5}, r"`seed` must be an integer in .*seed=0.5"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ChannelPermutation(**arguments)


def test_an_input_of_rank_1_is_rejected():
    with pytest.raises(ValueError, match=r"rank 2 or more.*shape=\(4,\)"):
        ChannelPermutation()(np.zeros(4))


@pytest.mark.parametrize(
    "shape, data_format", [((2, 2, None), "channels_last"), ((None, 2, 2), "channels_first")]
)
def test_an_unknown_number_of_channels_is_rejected(shape, data_format):
    with pytest.raises(ValueError, match=f"number of channels must be known.*'{data_format}'"):
        ChannelPermutation(data_format=data_format)(keras.Input(shape))


@pytest.mark.parametrize("mode", MODES)
def test_another_number_of_channels_than_it_was_built_for_is_rejected(mode):
    layer = ChannelPermutation(mode)
    layer(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"(?s)(axis|channels).*4.*6"):
        layer(np.zeros((2, 6)))
