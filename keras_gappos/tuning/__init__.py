"""Hyperparameter search with KerasTuner, which is imported on first use."""

import importlib

_HOMES = {
    "AugShiftHyperModel": "keras_gappos.tuning.augshift",
    "GridNetHyperModel": "keras_gappos.tuning.grid_net",
    "ShiftConsistencyCallback": "keras_gappos.analysis.consistency.callback",
    "make_tuner": "keras_gappos.tuning.tuner",
}
__all__ = list(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "keras_tuner":
            raise
        raise ImportError(
            f"keras_gappos.tuning.{name} needs KerasTuner: pip install keras-tuner"
        ) from error


def __dir__():
    return sorted([*globals(), *__all__])
