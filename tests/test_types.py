import importlib
import inspect
import pathlib

import pytest

import keras_gappos

ROOMS = ("analysis", "data", "layers", "models", "training", "tuning", "zoo")
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def public_objects():
    for room in ROOMS:
        module = importlib.import_module(f"keras_gappos.{room}")
        for name in module.__all__:
            if getattr(module, name).__module__.startswith(module.__name__):  # else in its own room
                yield pytest.param(getattr(module, name), id=f"{room}.{name}")


def unannotated(function):
    parameters = inspect.signature(function).parameters.values()
    return [
        parameter.name
        for parameter in parameters
        if parameter.annotation is parameter.empty
        and parameter.kind not in VARIADIC
        and parameter.name != "self"
    ]


@pytest.mark.parametrize("public", public_objects())
def test_public_functions_and_classes_are_annotated(public):
    function = public.__init__ if inspect.isclass(public) else public
    if function.__module__.startswith("keras_gappos."):  # not what Keras' own classes inherit
        assert not unannotated(function)


def test_the_package_tells_type_checkers_that_it_is_typed():
    assert (pathlib.Path(keras_gappos.__file__).parent / "py.typed").is_file()
