"""AugShift on several devices and processes."""

import json
import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_gappos as kg
from keras_gappos.training import augshift
from tests.training.augshift_cases import (
    IMAGES,
    LABELS,
    assert_same_weights,
    classifier,
    compiled,
    pair_offsets,
    trained,
)


def two_replicas():
    """Gradients are added on one device: TensorFlow's collectives on the CPU can wait for ever."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )


@pytest.mark.tensorflow
def test_on_two_replicas_the_term_is_as_strong_as_on_one_device(monkeypatch):
    monkeypatch.setattr(augshift, "draw_offsets", pair_offsets((1, 0), (-2, 3)))

    def fresh(weight=25.0):
        model = classifier(batch_norm=False, regularizer="l2")  # BatchNorm sees its replica alone
        return compiled(kg.AugShift(model, 3, weight))

    single = fresh()
    expected = trained(single)
    with two_replicas().scope():
        double = fresh()
    logs = trained(double)
    for name in expected:
        assert logs[name] == pytest.approx(expected[name], rel=1e-4), name
    assert_same_weights(double.model, single.model)
    other = fresh(50.0)
    trained(other)
    with pytest.raises(AssertionError):  # a term that is twice as strong shows
        assert_same_weights(other.model, single.model)
    data = {"x": IMAGES[:22], "y": LABELS[:22], "batch_size": 8, "verbose": 0, "return_dict": True}
    assert double.evaluate(**data) == pytest.approx(single.evaluate(**data), rel=1e-4)


@pytest.mark.tensorflow
def test_replicas_draw_different_shifts():
    import tensorflow as tf

    strategy = two_replicas()
    with strategy.scope():
        model = compiled(kg.AugShift(classifier(), 3, seed=0))

    @tf.function
    def draw():
        return strategy.run(lambda: model.prepare(tf.constant(IMAGES), None, None, True)[0])

    one, other = strategy.experimental_local_results(draw())
    assert not np.array_equal(*(next(iter(copies.values())) for copies in (one, other)))


ONE_OF_TWO_PROCESSES = """
import sys

import jax

rank, port = map(int, sys.argv[1:])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
import keras

keras.distribution.initialize(f"127.0.0.1:{port}", 2, rank)
keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))

from tests.training.augshift_cases import LABELS, IMAGES, classifier, compiled, kg, trained

rows = [row for start in (0, 8, 16) for row in range(start + 4 * rank, start + 4 * rank + 4)]
model = compiled(kg.AugShift(classifier(), 3, 25.0, seed=1))
history = trained(model, IMAGES[rows], LABELS[rows], batch_size=4)
weights = sum(float(abs(weight).sum()) for weight in model.model.get_weights())
print("history", {**history, "weights": [weights]})
"""


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX's DataParallel")
def test_two_jax_processes_train_as_one_does():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ONE_OF_TWO_PROCESSES, str(rank), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for rank in range(2)
    ]
    try:
        results = [process.communicate(timeout=500) for process in processes]
    finally:
        for process in processes:
            process.kill()
    lines = [out.strip().split("\n")[-1] for out, _ in results]
    assert lines[0].startswith("history"), results
    one, other = (json.loads(line.removeprefix("history").replace("'", '"')) for line in lines)
    assert one == other  # to the last bit
    model = compiled(kg.AugShift(classifier(), 3, 25.0, seed=1))
    expected = trained(model)
    expected["weights"] = [sum(abs(weight).sum() for weight in model.model.get_weights())]
    for name in expected:
        assert one[name] == pytest.approx(expected[name], rel=1e-4), name
