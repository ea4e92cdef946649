"""What `import keras_gappos` costs, what it does without, and which room imports from which."""

import ast
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import keras
import pytest

import keras_gappos

# A room may import from those in the lines above its own; what is not here, the command line, from
# all of them.
ROOMS = [
    ["arguments", "files", "interrupts", "startup", "version"],
    ["layers"],
    ["data", "models", "surgery"],
    ["decisions", "predictions"],
    ["training"],
    ["analysis"],
    ["zoo"],
    ["tuning"],
    ["experiments"],
]

# Prints the modules that are imported with keras_gappos and not with Keras alone.
IMPORTS = """
import json, sys
import keras
before = set(sys.modules)
import keras_gappos
print(json.dumps(sorted(set(sys.modules) - before)))
"""

# Hides modules; which ones is filled in.
HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hidden())
"""

WITHOUT_TENSORFLOW = HIDE.format(["tensorflow"])
# What data sets, tuning, figures and the command line need, and the core does not.
NOT_CORE = [
    "tensorflow_datasets",
    "importlib_resources",
    "keras_tuner",
    "tensorboard",
    "grpc",
    "sklearn",
    "matplotlib",
    "PIL",
    "tyro",
]

TRAIN = """
import keras_gappos as kg
import keras
import numpy as np

assert keras.backend.backend() == "jax"
images, labels = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1)), np.arange(16) % 9
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
classifier = kg.AugShift(network, max_shift=1, latent=network.layers[-1])
assert len(kg.analysis.rank_channels(network, np.ones((2, 24, 24, 1), "float32")).channels) == 9
assert "resnet18.cifar10" in kg.zoo.list_models()
print("tensorflow" in sys.modules, "trained", task.optimizer.iterations.numpy().item())
"""


COMMAND_LINE = """
sys.argv = ["keras-gappos", "zoo", "list"]
from keras_gappos.cli.main import main
sys.exit(main())
"""


def start(program, **environment):
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def run(program, **environment):
    finished = start(program, **environment)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip().splitlines()


def test_importing_the_package_imports_nothing_heavy_that_keras_does_not():
    modules = json.loads(run(IMPORTS)[-1])
    assert "keras_gappos.layers.channel_permutation" in modules
    heavy = {"tensorflow", "tensorflow_datasets", "keras_tuner", "matplotlib", "sklearn"}
    heavy |= {"jax", "torch", "pandas", "scipy", "requests", "tyro", "rich"}
    assert not heavy & {module.split(".")[0] for module in modules}
    assert not {"keras_gappos.cli.main", "keras_gappos.experiments"} & set(modules)
    assert [name for name in modules if name.startswith("keras_gappos.tuning")] == [
        "keras_gappos.tuning"
    ]


def imported_rooms(path):
    """The rooms that a module imports from, at its head or where it uses them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("keras_gappos."))


def test_imports_run_downward_only():
    package = pathlib.Path(keras_gappos.__file__).parent
    level = {room: number for number, rooms in enumerate(ROOMS) for room in rooms}
    imports = {
        (path.relative_to(package).parts[0].removesuffix(".py"), room)
        for path in package.rglob("*.py")
        if path != package / "__init__.py"
        for room in imported_rooms(path)
    }
    assert ("tuning", "training") in imports
    top = len(ROOMS)
    upward = {(a, b) for a, b in imports if a != b and level.get(a, top + 1) <= level.get(b, top)}
    assert not upward


def test_tuning_without_keras_tuner_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("keras_gappos.tuning.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "keras_tuner", None)  # importing it fails now
    assert {"AugShiftHyperModel", "GridNetHyperModel", "make_tuner"} <= set(
        dir(keras_gappos.tuning)
    )
    for name in ("AugShiftHyperModel", "GridNetHyperModel", "make_tuner"):
        with pytest.raises(ImportError, match=f"{name} needs KerasTuner: pip install keras-tuner"):
            getattr(keras_gappos.tuning, name)
    assert keras_gappos.tuning.ShiftConsistencyCallback  # it needs Keras alone
    with pytest.raises(AttributeError, match="has no attribute 'AugShiftModel'"):
        _ = keras_gappos.tuning.AugShiftModel


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
def test_the_core_works_on_jax_without_tensorflow_and_what_the_rest_needs():
    # Optimizing the program would take XLA longer than all the rest.
    flags = "--xla_backend_optimization_level=0"
    message, last = run(
        HIDE.format(["tensorflow", *NOT_CORE]) + TRAIN, KERAS_BACKEND="", XLA_FLAGS=flags
    )
    assert "pip install 'keras-gappos[tensorflow]'" in message
    assert last == "False trained 1"


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
def test_the_command_line_works_on_jax_without_tensorflow():
    done = start(WITHOUT_TENSORFLOW + COMMAND_LINE, KERAS_BACKEND="")
    assert (done.returncode, done.stderr) == (0, "")
    assert "gapnet_resnet18" in done.stdout


@pytest.mark.parametrize("named", ["", "jax"])
def test_without_a_backend_one_line_says_what_to_install(named):
    hidden = HIDE.format(["tensorflow", "jax", "torch"])
    done = start(hidden + COMMAND_LINE, KERAS_BACKEND=named)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert "pip install 'keras-gappos[tensorflow]' or 'keras-gappos[jax]'" in line
    done = start(hidden + "import keras_gappos", KERAS_BACKEND=named)
    assert done.stderr.splitlines()[-1] == line.replace("keras-gappos:", "ImportError:", 1)


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def test_no_private_name_of_keras_is_used():
    """Outside of `tuning.resumable`, which needs some of KerasTuner's."""
    package = pathlib.Path(keras_gappos.__file__).parent
    used, own, foreign = set(), set(), set()
    for path in package.rglob("*.py"):
        if path.parent == package / "tuning" / "resumable":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                (own if isinstance(node.ctx, ast.Store) else used).add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                own.add(node.id)
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                own.add(node.name)
            elif isinstance(node, ast.ImportFrom):
                foreign.update({"keras.src", "tensorflow.python"} & {node.module})
    assert "_is_building" in used
    assert not {name for name in used - own if is_private(name)}
    assert not foreign


def test_no_private_name_of_keras_is_overridden():
    for base in (keras.layers.Layer, keras.Model, keras.metrics.Metric, keras.random.SeedGenerator):
        inherited = {name for name in dir(base) if is_private(name)}
        for kind in subclasses(base):
            if kind.__module__.startswith("keras_gappos."):
                assert not inherited & set(vars(kind)), kind


def subclasses(kind):
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)
