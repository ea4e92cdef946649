import keras
import numpy as np
import pytest
from keras import ops
from scipy.signal import correlate2d

from keras_gappos.layers import LearnablePolyphasePool2D
from tests.layers.layer_checks import functional_model, run_layer_test, to_numpy

STARTS = [(0, 0), (0, 1), (1, 0), (1, 1)]


@keras.saving.register_keras_serializable(package="tests")
class SameWeights(LearnablePolyphasePool2D):
    """With the same weights at each construction."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.conv.kernel_initializer = keras.initializers.HeNormal(seed=1)
        self.score.kernel_initializer = keras.initializers.HeNormal(seed=2)


def images(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def components(x):
    return [x[:, i::2, j::2] for i, j in STARTS]


def scores_of(layer, x):
    """The score of each component of each sample by the paper's definition, in SciPy."""
    kernel, bias = layer.conv.get_weights()
    (weights,) = layer.score.get_weights()

    def score(component):
        padded = np.pad(component, ((1, 1), (1, 1), (0, 0)), "wrap")
        hidden = [
            sum(
                correlate2d(padded[..., i], kernel[..., i, o], mode="valid")
                for i in range(kernel.shape[2])
            )
            for o in range(kernel.shape[3])
        ]
        return np.maximum(np.stack(hidden, -1) + bias, 0).mean((0, 1)) @ weights[:, 0]

    return np.array([[score(c[n]) for c in components(x)] for n in range(len(x))])


def test_does_what_every_layer_owes():
    run_layer_test(
        SameWeights,
        {"strides": 3, "hidden_channels": 5, "temperature": 0.5, "seed": 3},
        (np.arange(3 * 7 * 5 * 2, dtype="float32").reshape(3, 7, 5, 2) % 11 % 7,),
        expected_output_shape=(3, 3, 2, 2),
        dtypes=("float32",),  # as a convolution it computes in its own dtype, not in the input's
    )


def test_keeps_the_component_with_the_highest_score():
    x, layer = images(6, 8, 10, 3), SameWeights()
    pooled = to_numpy(layer(x))
    best = scores_of(layer, x).argmax(-1)
    assert len(set(best)) > 1
    for n, k in enumerate(best):
        np.testing.assert_array_equal(pooled[n], components(x)[k][n])


def test_maps_of_a_list_share_the_grid_of_the_first():
    x, layer = images(6, 8, 10, 3), SameWeights()
    other = np.arange(6 * 8 * 10 * 2, dtype="float32").reshape(6, 8, 10, 2)
    main, shortcut = layer([x, other])
    np.testing.assert_array_equal(to_numpy(main), to_numpy(layer(x)))
    for n, k in enumerate(scores_of(layer, x).argmax(-1)):
        np.testing.assert_array_equal(to_numpy(shortcut)[n], components(other)[k][n])
    assert len(layer.trainable_weights) == 3  # kernel and bias, and the score's weights


def test_training_mixes_the_components_of_all_maps_with_the_same_weights():
    x, layer = images(6, 8, 10, 3), SameWeights(seed=1)
    marks = np.zeros((6, 8, 10, 4), "float32")
    for k, (i, j) in enumerate(STARTS):
        marks[:, i::2, j::2, k] = 1.0
    mixed, weights = layer([x, marks], training=True)
    weights = to_numpy(weights)
    np.testing.assert_allclose(weights, np.broadcast_to(weights[:, :1, :1], weights.shape))
    weights = weights[:, 0, 0]
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    expected = sum(w[:, None, None, None] * c for w, c in zip(weights.T, components(x)))
    np.testing.assert_allclose(to_numpy(mixed), expected, atol=1e-5)
    assert np.abs(to_numpy(layer([x, marks], training=True)[1])[:, 0, 0] - weights).max() > 0.1


@pytest.mark.parametrize("temperature", [0.1, 5.0])
def test_draws_are_of_the_gumbel_softmax(temperature):
    layer = SameWeights(temperature=temperature, seed=1)
    x = np.repeat(images(1, 4, 4, 2), 4000, axis=0)
    marks = np.zeros((4000, 4, 4, 4), "float32")
    for k, (i, j) in enumerate(STARTS):
        marks[:, i::2, j::2, k] = 1.0
    weights = to_numpy(layer([x, marks], training=True)[1])[:, 0, 0]
    # The Gumbel-max trick: whatever the temperature, the largest is drawn by the softmax.
    scores = np.exp(scores_of(layer, x[:1])[0])
    shares = np.bincount(weights.argmax(-1), minlength=4) / 4000
    np.testing.assert_allclose(shares, scores / scores.sum(), atol=0.04)
    assert (weights.max(-1).mean() > 0.9) == (temperature < 1)


def test_training_reaches_the_scores():
    model = functional_model(SameWeights(), [images(8, 4, 4, 2)])
    before = model.get_weights()[:3]
    model.compile("sgd", "mse")
    model.fit(images(8, 4, 4, 2), images(8, 2, 2, 2), verbose=0)
    for old, new in zip(before, model.get_weights()[:3], strict=True):
        assert np.any(old != new)


def test_a_circular_shift_only_shifts_the_output():
    x, layer = images(1, 8, 12, 3), SameWeights()
    shifts = [(down, right) for down in range(8) for right in range(12)]
    shifted = np.concatenate([np.roll(x, shift, (1, 2)) for shift in shifts])
    pooled = to_numpy(layer(shifted))
    parents = [np.roll(pooled[0], (i, j), (0, 1)) for i in range(4) for j in range(6)]
    for one in pooled:
        assert any((one == parent).all() for parent in parents)


def test_a_map_of_unknown_size_is_pooled_as_one_of_known_size():
    layer = SameWeights()
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, None, 2)
    for size in [(4, 4), (7, 9), (8, 6)]:
        x = images(3, *size, 2)
        np.testing.assert_allclose(model.predict(x, verbose=0), to_numpy(layer(x)), atol=1e-6)
    model.compile("sgd", "mse")
    model.fit(x, x[:, 1::2, 1::2], verbose=0)


def test_a_reloaded_layer_goes_on_with_its_draws(tmp_path):
    x = images(4, 4, 4, 2)
    model = functional_model(LearnablePolyphasePool2D(seed=1), [x])
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    expected, result = (to_numpy(one(x, training=True)) for one in (model, reloaded))
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"strides": 0}, "`strides` must be an integer of at least 1.*strides=0"),
        ({"hidden_channels": 0}, "`hidden_channels` must be an integer of at least 1"),
        ({"temperature": 0}, "`temperature` must be a number above 0. .*temperature=0"),
        ({"temperature": "hot"}, "`temperature` must be a number above 0. .*'hot'"),
        ({"seed": -1}, "`seed` must be an integer in"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        LearnablePolyphasePool2D(**arguments)


@pytest.mark.parametrize("call", [lambda x: x, lambda x: keras.Input(x.shape[1:])])
@pytest.mark.parametrize(
    "shapes, message",
    [
        ([(2, 8, 8)], r"'pool' needs an input of shape \(batch, height, width"),
        ([(2, 1, 9, 1)], "'pool' needs a map whose sides are at least half of its strides.*1x9"),
        ([(2, 8, 8, 1), (2, 8, 7, 1)], r"Each map must have the .*'pool'.*8, 7, 1\).*8, 8, 1\)"),
    ],
)
def test_inputs_that_do_not_fit_are_rejected(shapes, message, call):
    maps = [call(np.zeros(shape)) for shape in shapes]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        LearnablePolyphasePool2D(3, name="pool")(maps)


def test_unknown_channels_are_rejected():
    with pytest.raises(ValueError, match="'pool' needs to know the number of channels"):
        LearnablePolyphasePool2D(name="pool")(keras.Input((8, 8, None)))


def test_half_precision_scores_in_float32():
    layer = SameWeights(dtype="mixed_float16")
    assert layer(ops.ones((1, 4, 4, 2))).dtype == "float16"
    assert layer.score.compute_dtype == "float32"
