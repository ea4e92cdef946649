import keras
import numpy as np
import pytest

from keras_gappos.layers.seed_generator import SeedGenerator
from tests.layers.layer_checks import to_numpy


def draw(generator):
    return to_numpy(keras.random.uniform((4,), seed=generator))


def test_draws_are_those_of_keras():
    generator, stock = SeedGenerator(7), keras.random.SeedGenerator(7)
    for _ in range(3):
        np.testing.assert_array_equal(draw(generator), draw(stock))


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
@pytest.mark.parametrize("dtype", ["uint32", "int64", "uint64"])
def test_loaded_state_goes_on_where_the_saved_one_stood(seed, dtype):
    generator, store = SeedGenerator(seed), {}
    draw(generator)
    generator.save(store)
    other = SeedGenerator(1)
    # As another backend, whose states are of another dtype, would have written it.
    other.load({key: value.astype(dtype) for key, value in store.items()})
    for _ in range(3):
        np.testing.assert_array_equal(draw(other), draw(generator))


def test_the_saved_state_is_of_one_dtype_on_every_backend():
    store = {}
    SeedGenerator(2**32 - 1).save(store)
    (state,) = store.values()
    assert state.dtype == "int64"
    assert state.tolist() == [2**32 - 1, 0]


@pytest.mark.tensorflow
@pytest.mark.parametrize("compiled", [True, False])
def test_replicas_draw_different_numbers_and_the_first_those_without_strategy(compiled):
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        generator = SeedGenerator(7)

    def step():
        return keras.random.uniform((4,), seed=generator)

    run = tf.function(lambda: strategy.run(step)) if compiled else lambda: strategy.run(step)
    alone = SeedGenerator(7)
    drawn = []
    for _ in range(3):
        first, second = strategy.experimental_local_results(run())
        np.testing.assert_array_equal(first, draw(alone))
        drawn += [*first.numpy(), *second.numpy()]
    assert len(set(drawn)) == 24  # neither replica repeats itself or the other


@pytest.mark.tensorflow
def test_the_second_replica_draws_what_no_neighboring_seed_draws():
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        generator = SeedGenerator(7)
    _, second = strategy.experimental_local_results(
        strategy.run(lambda: keras.random.uniform((4,), seed=generator))
    )
    for seed in range(20):
        neighbor = SeedGenerator(seed)
        assert not any(np.array_equal(second, draw(neighbor)) for _ in range(5))
