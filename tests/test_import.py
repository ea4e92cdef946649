"""What `import keras_gappos` costs, and that it works without TensorFlow."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

# Prints the modules that are imported with keras_gappos and not with Keras alone.
IMPORTS = """
import json, sys
import keras
before = set(sys.modules)
import keras_gappos
print(json.dumps(sorted(set(sys.modules) - before)))
"""

WITHOUT_TENSORFLOW = """
import sys

class NoTensorFlow:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_datasets"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoTensorFlow())
import keras
import numpy as np
import keras_gappos as kg

assert keras.backend.backend() == "jax"
images, labels = kg.data.load("digits", "train", limit=16)
network = kg.models.gapnet((24, 24, 1), num_outputs=9, width=4)
before = network.get_layer("class_conv").get_weights()
task = kg.GridTask(network, grid_size=3, seed=0)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
task.compile("adam", loss, metrics=["accuracy"])
history = task.fit(images / 255, labels, batch_size=16, verbose=0).history
assert np.isfinite(history["loss"]).all(), history
for old, new in zip(before, network.get_layer("class_conv").get_weights()):
    assert (old != new).any()
try:
    kg.data.load("cifar10", "train")
except ImportError as error:
    print(error)
print("tensorflow" in sys.modules, "trained", task.optimizer.iterations.numpy().item())
"""


def run(program, **environment):
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip().splitlines()


def test_importing_the_package_imports_nothing_heavy_that_keras_does_not():
    modules = json.loads(run(IMPORTS)[-1])
    assert "keras_gappos.layers.channel_permutation" in modules
    heavy = {"tensorflow", "tensorflow_datasets", "keras_tuner", "matplotlib", "sklearn"}
    heavy |= {"jax", "torch", "pandas", "scipy", "requests", "tyro", "rich"}
    assert not heavy & {module.split(".")[0] for module in modules}
    assert not {"keras_gappos.cli", "keras_gappos.experiments"} & set(modules)


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
def test_gapnet_trains_on_jax_without_tensorflow():
    # Optimising the program would take XLA longer than all the rest.
    flags = "--xla_backend_optimization_level=0"
    message, last = run(WITHOUT_TENSORFLOW, KERAS_BACKEND="jax", XLA_FLAGS=flags)
    assert "pip install tensorflow tensorflow-datasets" in message
    assert last == "False trained 1"
