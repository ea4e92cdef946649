import ast
import inspect
import pathlib

import keras_tuner
from keras_tuner.engine.trial import Trial

import keras_gappos

ROOT = pathlib.Path(keras_gappos.__file__).parent
CLASSES = [
    Trial,
    *(
        value
        for module in (keras_tuner, keras_tuner.oracles)
        for _, value in inspect.getmembers(module, inspect.isclass)
    ),
]
PRIVATE = {name for cls in CLASSES for name in dir(cls) if name[0] == "_" and name[:2] != "__"}


def private_uses(source):
    """The private modules and methods of KerasTuner that a module names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras_tuner."):
            yield node.module
        elif isinstance(node, ast.Attribute) and node.attr in PRIVATE:
            yield node.attr
        elif isinstance(node, ast.FunctionDef) and node.name in PRIVATE:
            yield node.name


def test_only_this_folder_uses_private_names_of_keras_tuner():
    files = {path: set(private_uses(path.read_text())) for path in ROOT.rglob("*.py")}
    users = {path.relative_to(ROOT).parent.as_posix() for path, names in files.items() if names}
    assert users == {"tuning/resumable"}
    assert {"_get_epochs", "_try_run_and_update_trial"} <= set().union(*files.values())
