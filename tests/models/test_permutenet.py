import keras
import numpy as np
import pytest
from keras import ops

from keras_gappos.models import permutenet, resnet

BEFORE_THE_PERMUTATION = {
    "stem": "stem_relu",
    "stage1": "stage1_block2_relu2",
    "stage2": "stage2_block2_relu2",
    "stage3": "stage3_block2_relu2",
    "stage4": "stage4_block2_relu2",
    "pool": "latent",
}


def images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


@pytest.mark.parametrize("place", BEFORE_THE_PERMUTATION)
def test_permutes_at_the_given_place_and_nowhere_else(place):
    model = permutenet((16, 16, 3), 9, width=4, permute_at=place, mode="sample", seed=0)
    before = model.get_layer(BEFORE_THE_PERMUTATION[place]).output
    after = model.get_layer("permutation").output
    given, permuted = keras.Model(model.input, [before, after])(images(2, 16, 16, 3))
    given, permuted = np.asarray(given), np.asarray(permuted)
    assert (given != permuted).any()
    np.testing.assert_array_equal(np.sort(given), np.sort(permuted))
    # In its weights, and but for the permutation in its layers, it is a ResNet.
    plain = resnet(18, (16, 16, 3), 9, width=4, stem="canvas")
    names = [layer.name for layer in model.layers]
    assert sorted(names) == sorted([*(layer.name for layer in plain.layers), "permutation"])
    assert [w.shape for w in model.weights] == [w.shape for w in plain.weights]


@pytest.mark.parametrize("place", ["stem", "pool"])
@pytest.mark.parametrize("mode, differ", [("batch", True), ("sample", True), ("fixed", False)])
def test_answers_are_random_unless_the_mode_is_fixed(place, mode, differ):
    model = permutenet((16, 16, 3), 9, width=4, permute_at=place, mode=mode, seed=0)
    x = images(2, 16, 16, 3)
    first, second = (ops.convert_to_numpy(model(x)) for _ in range(2))
    assert (np.abs(first - second).max() > 1e-3) == differ


def test_batch_mode_answers_equal_images_equally_and_sample_mode_does_not():
    x = np.tile(images(1, 16, 16, 3), (2, 1, 1, 1))
    for mode, differ in [("batch", False), ("sample", True)]:
        first, second = ops.convert_to_numpy(
            permutenet((16, 16, 3), 9, width=4, mode=mode, seed=0)(x)
        )
        assert (np.abs(first - second).max() > 1e-3) == differ


def test_the_seed_decides_the_answers():
    x = images(2, 16, 16, 3)
    one, same, other = (permutenet((16, 16, 3), 9, width=4, seed=s) for s in (3, 3, 4))
    same.set_weights(one.get_weights())
    other.set_weights(one.get_weights())
    expected = ops.convert_to_numpy(one(x))
    np.testing.assert_allclose(same(x), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(ops.convert_to_numpy(other(x)) - expected).max() > 1e-3


@pytest.mark.parametrize("place", ["stage2", "pool"])
def test_a_reloaded_model_goes_on_with_the_same_permutations(place, tmp_path):
    model = permutenet((16, 16, 3), 9, width=4, permute_at=place)  # seed=None
    x = images(2, 16, 16, 3)
    model(x)
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    for _ in range(2):
        np.testing.assert_allclose(model(x), reloaded(x), rtol=1e-5, atol=1e-6)


def test_takes_images_of_any_size_where_none_is_given():
    model = permutenet((None, None, 3), 9, width=4, permute_at="stage1")
    for size in [(16, 16), (33, 50)]:
        assert model(images(2, *size, 3)).shape == (2, 9)


def test_logits_are_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    model = permutenet((16, 16, 3), 9, width=4)
    assert model.get_layer("permutation").output.dtype == "float16"
    assert model.output.dtype == "float32"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"permute_at": "stage5"}, r"`permute_at` must be one of \('stem', .*'pool'\).*'stage5'"),
        ({"mode": "all"}, r"`mode` must be one of \('batch', 'sample', 'fixed'\).*'all'"),
        ({"seed": -3}, r"`seed` must be an integer in .*seed=-3"),
        ({"num_outputs": 1.0}, "`num_outputs` must be an integer of at least 1.*=1.0"),
        ({"depth": 101}, r"`depth` must be one of \(18, 34, 50\). Received: depth=101"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    good = {"input_shape": (16, 16, 3), "num_outputs": 9, "width": 4}
    with pytest.raises(ValueError, match=message):
        permutenet(**{**good, **arguments})
