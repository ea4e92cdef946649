"""Weights that the user gives to an experiment, in place of a training."""

import pathlib


def check_weights_file(settings):
    """Raises an error if the file of the settings' `weights` is not there, or no weights file."""
    path = settings.weights
    if not path.endswith(".weights.h5"):
        raise ValueError(
            "`weights` must be a file that Keras saved, whose name ends in .weights.h5. "
            f"Received: weights={path!r}"
        )
    if not pathlib.Path(path).expanduser().is_file():
        raise FileNotFoundError(f"`weights` is not there. Received: weights={path!r}")
