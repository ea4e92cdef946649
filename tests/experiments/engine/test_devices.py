import json
import os
import socket
import subprocess
import sys
import types

import keras
import numpy as np
import pytest

from keras_gappos.data import SegmentationBatches
from keras_gappos.data.batches import TrainingBatches
from keras_gappos.experiments.engine import jax_cluster as cluster
from keras_gappos.experiments.engine.devices import ONE_DEVICE, BatchParts, use_devices
from keras_gappos.experiments.engine.settings import TrainingSettings
from tests.experiments.engine.device_runs import STEPS, build_small_network, run, settings

on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX's DataParallel")
SAME = {"rel": 0, "abs": 1e-4}  # losses of 2.3


def weights_of(folder, row):
    network = build_small_network(None, None, row["image_shape"], row["num_classes"])
    network.load_weights(folder / row["weights"])
    return network.get_weights()


def assert_same_weights(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_two_replicas_train_as_one_device_does(tmp_path):
    (expected,), losses = run(settings(tmp_path / "one"))
    (row,), losses_of_two = run(settings(tmp_path / "two", distribute="mirrored"))
    assert len(losses) == 2 * STEPS and losses[-1] < losses[0]
    assert losses_of_two == pytest.approx(losses, **SAME)
    assert_same_weights(weights_of(tmp_path / "two", row), weights_of(tmp_path / "one", expected))
    for score in ("top1", "consistency_random", "consistency_exact", "worst_case"):
        assert row[score] == pytest.approx(expected[score], abs=2.1)  # one image of 50
    assert (expected["device"], row["device"]) == (row["device"][4:], f"2 x {expected['device']}")


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("goes_on_on", ["mirrored", "none"])
def test_an_interrupted_training_on_two_replicas_goes_on(goes_on_on, tmp_path):
    (expected,), losses = run(settings(tmp_path / "straight", distribute="mirrored"))
    with pytest.raises(KeyboardInterrupt):
        run(settings(tmp_path / "broken", distribute="mirrored"), stop_in=1)
    (row,), rest = run(settings(tmp_path / "broken", distribute=goes_on_on))
    assert rest == pytest.approx(losses[STEPS:], **SAME)
    assert_same_weights(
        weights_of(tmp_path / "broken", row), weights_of(tmp_path / "straight", expected)
    )


@pytest.mark.slow
@pytest.mark.tensorflow
def test_random_draws_go_on_after_an_interruption_on_two_replicas(tmp_path):
    changes = {"distribute": "mirrored", "methods": ("augshift",)}
    _, losses = run(settings(tmp_path / "straight", **changes))
    with pytest.raises(KeyboardInterrupt):
        run(settings(tmp_path / "broken", **changes), stop_in=1)
    _, rest = run(settings(tmp_path / "broken", **changes))
    assert rest == pytest.approx(losses[STEPS:], **SAME)


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="has a faster copy")
def test_on_one_device_the_network_itself_is_trained():
    network = build_small_network(None, None, (8, 8, 1), 3)
    with ONE_DEVICE.training(network) as copy:
        assert copy is network


@pytest.mark.tensorflow
def test_replicas_normalize_the_whole_batch():
    devices = use_devices("mirrored", 4)
    assert (devices.replicas, devices.processes, devices.is_chief) == (2, 1, True)
    inputs = keras.Input((1,))
    network = keras.Model(inputs, keras.layers.BatchNormalization(momentum=0.0)(inputs))
    with devices.training(network) as copy:
        assert copy is not network
        copy.compile("sgd", "mse")
        images = np.array([[0.0], [0.0], [2.0], [2.0]])  # a variance of 0 on each replica
        copy.fit(images, images, batch_size=4, shuffle=False, verbose=0)
    (norm,) = (layer for layer in network.layers if layer.weights)
    assert (float(norm.moving_mean[0]), float(norm.moving_variance[0])) == (1.0, 1.0)
    assert not norm.synchronized


@pytest.mark.tensorflow
def test_xla_changes_no_loss(tmp_path):
    _, losses = run(settings(tmp_path / "off", epochs=1, jit_compile="off"))
    _, compiled = run(settings(tmp_path / "on", epochs=1, jit_compile="on"))
    assert compiled == pytest.approx(losses, abs=1e-3)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_parts_of_all_processes_are_the_batches_of_one(processes):
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 6, 3), "uint8")
    kinds = [
        TrainingBatches(images.astype("float32"), np.arange(20), 8, flip=True, seed=1),
        SegmentationBatches(
            images, images[..., 0] % 5, 8, seed=1, size=(4, 4), flip=True, ignore_class=9
        ),
    ]
    for batches in kinds:
        parts = [BatchParts(batches, rank, processes) for rank in range(processes)]
        assert {len(part) for part in parts} == {2}
        for epoch in range(2):
            batches.callback.on_epoch_begin(epoch, None)
            for index in range(2):
                found = [part[index] for part in parts]
                assert {len(x) for x, _ in found} == {8 // processes}
                for whole, *pieces in zip(batches[index], *found, strict=True):
                    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_a_batch_that_cannot_be_divided_is_refused():
    devices = types.SimpleNamespace(replicas=3)
    with pytest.raises(ValueError, match=r"multiple of their number.*batch_size=16, 3 devices"):
        type(ONE_DEVICE).check_batch_size(devices, 16)


@pytest.mark.parametrize("name", ["multiworker", "parameter_server"])
def test_what_keras_cannot_do_is_refused_with_the_way_that_works(name):
    with pytest.raises(ValueError, match=rf"KERAS_BACKEND=jax\) with .*'jax'.*Received.*{name}"):
        TrainingSettings(distribute=name)


def test_a_distribution_of_another_backend_is_refused_with_the_way_that_works():
    backend = keras.backend.backend()
    if backend != "tensorflow":
        with pytest.raises(ValueError, match=r"KERAS_BACKEND=tensorflow, or .*distribute='jax'"):
            use_devices("mirrored", 2)
    if backend != "jax":
        with pytest.raises(ValueError, match=r"set KERAS_BACKEND=jax.*distribute='mirrored'"):
            use_devices("jax", 2)


def test_xla_for_mirrored_replicas_is_refused():
    with pytest.raises(ValueError, match=r"jit_compile must be 'auto' or 'off'"):
        TrainingSettings(distribute="mirrored", jit_compile="on")


@pytest.mark.tensorflow
def test_a_cluster_of_tensorflow_is_refused_and_one_task_is_none(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {}}')
    with pytest.raises(ValueError, match=r"distribute='jax'.*Received: TF_CONFIG with 2 tasks"):
        use_devices("mirrored", 2)
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"chief": ["a:1"], "evaluator": ["b:1"]}}')
    assert use_devices("mirrored", 2).replicas == 2


@pytest.mark.tensorflow
def test_a_single_cpu_is_refused(monkeypatch):
    import tensorflow as tf

    list_devices = tf.config.list_logical_devices
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: list_devices(kind)[:1])
    with pytest.raises(ValueError, match=r"Use distribute='none'"):
        use_devices("mirrored", 2)


@pytest.mark.parametrize(
    ("addresses", "count", "rank"),
    [
        ("a:1,b:1", None, "0"),
        (None, "2", "0"),
        ("a:1,b:1", "2", "2"),
        ("a:1,b:1", "two", "0"),
        ("a:1,b:1,c:1", "2", "0"),
    ],
)
def test_a_cluster_that_is_named_by_half_is_refused(addresses, count, rank, monkeypatch):
    pytest.importorskip("jax")
    for name, value in (("JOB_ADDRESSES", addresses), ("NUM_PROCESSES", count)):
        monkeypatch.delenv(f"KERAS_DISTRIBUTION_{name}", raising=False)
        if value is not None:
            monkeypatch.setenv(f"KERAS_DISTRIBUTION_{name}", value)
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", rank)
    with pytest.raises(ValueError, match=rf"must be the host:port.*NUM_PROCESSES={count}"):
        cluster.join_cluster()


@on_jax
def test_a_single_jax_device_trains_as_without_distribution(tmp_path):
    _, losses = run(settings(tmp_path / "none", epochs=1))
    (row,), found = run(settings(tmp_path / "jax", epochs=1, distribute="jax"))
    assert found == pytest.approx(losses, **SAME)
    assert row["epochs"] == 1


# Interrupted in its second epoch, it goes on from the backup; then it is refused another width.
ONE_OF_TWO_PROCESSES = """
import json
import sys

from tests.experiments.engine.device_runs import run, settings

found = {}
try:
    run(settings(sys.argv[1], distribute="jax"), stop_in=1)
except KeyboardInterrupt:
    found["rows"], found["losses"] = run(settings(sys.argv[1], distribute="jax"))
try:
    run(settings(sys.argv[1], distribute="jax", width=3))
except ValueError as error:
    found["width"] = str(error)
print("found", json.dumps(found))
"""


@on_jax
def test_two_jax_processes_train_as_one_does_and_the_first_one_writes(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ONE_OF_TWO_PROCESSES, str(tmp_path / f"process{rank}")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**shared, "KERAS_DISTRIBUTION_PROCESS_ID": str(rank)},
        )
        for rank in range(2)
    ]
    try:
        results = [process.communicate(timeout=200) for process in processes]
    finally:
        for process in processes:
            process.kill()
    lines = [out.strip().split("\n")[-1] for out, _ in results]
    assert [line[:5] for line in lines] == ["found"] * 2, results
    one, other = (json.loads(line.removeprefix("found")) for line in lines)
    assert one["losses"] == other["losses"]  # to the last bit
    assert one["rows"] == other["rows"]
    assert all("width is 2 there, 3 here" in found["width"] for found in (one, other))
    shown = [out.rpartition("found")[0] for out, _ in results]
    assert ["epoch 2/2" in text for text in shown] == [True, False]
    assert (tmp_path / "process0" / "results.json").is_file()
    assert not (tmp_path / "process1").exists()
    (expected,), losses = run(settings(tmp_path / "alone"))
    assert one["losses"] == pytest.approx(losses[STEPS:], **SAME)
    (row,) = one["rows"]
    assert row["device"] == f"2 x {expected['device']}"
    assert row["top1"] == pytest.approx(expected["top1"], abs=2.1)
    assert_same_weights(
        weights_of(tmp_path / "process0", row), weights_of(tmp_path / "alone", expected)
    )
