"""Two CPU devices for tests of distribution, the same start for every test, and a small zoo."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Read by JAX and TensorFlow alike. The programs of these tests run for less time than LLVM needs
# to optimize them.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras
import pytest

from keras_gappos.zoo import registry

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # Possible only before TensorFlow runs its first operation. Replicas wait for one another inside
    # of operations: with a thread for each core alone they can wait for ever.
    tf.config.threading.set_inter_op_parallelism_threads(16)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def pytest_collection_modifyitems(items):
    if keras.backend.backend() == "tensorflow":
        return
    for item in items:
        if "tensorflow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs the TensorFlow backend"))


@pytest.fixture(autouse=True)
def same_dtype_policy_after_the_test():
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(policy)


@pytest.fixture
def zoo_folder(tmp_path, monkeypatch):
    """A zoo's folder, empty, with an empty cache."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    monkeypatch.setenv("KERAS_GAPPOS_ZOO", str(folder))
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def register(monkeypatch):
    """A function that makes models the only ones of the registry."""

    def register(*models):
        monkeypatch.setattr(registry, "_models", lambda: {model.name: model for model in models})

    return register
