"""Weights that the user gives to an experiment, in place of a training."""

import pathlib
import warnings


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


def load_given_weights(network, path, kind):
    """Loads a weights file into a network.

    Args:
        network: an untrained network.
        path: of a `.weights.h5` file.
        kind: what the weights must be of, for the message.

    Raises:
        ValueError: if they are of another network.
    """
    try:
        with warnings.catch_warnings():  # one for each layer that differs: the error says it all
            warnings.simplefilter("ignore")
            network.load_weights(pathlib.Path(path).expanduser())
    except (ValueError, OSError, KeyError) as error:
        reason = [*str(error).strip().splitlines(), type(error).__name__][0]
        raise ValueError(
            f"`weights` must be those of {kind}. Received: weights={str(path)!r} ({reason})"
        ) from error
