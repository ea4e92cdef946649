"""Pretrained models, built by the registry and filled with verified weights."""

import warnings
from collections.abc import Callable

import h5py
import keras

from keras_gappos import models
from keras_gappos.zoo.cache import digest_of, fetch
from keras_gappos.zoo.model import ZooModel
from keras_gappos.zoo.registry import info, owner_of

BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "resnet": models.resnet,
    "gapnet": models.gapnet,
    "permutenet": models.permutenet,
    "deeplabv3": models.deeplabv3,
}


def load(name: str) -> keras.Model:
    """Loads a pretrained model, on any backend.

    The network is built by the package's own code and then filled with numbers: nothing from the
    file is ever run. What it takes and gives, `info` tells; `info(name).preprocess` makes the one
    of images.

    Args:
        name: of a model, see `list_models`.

    Returns:
        A Functional `keras.Model`, not compiled, that gives logits.

    Raises:
        ValueError: for an unknown name, or weights of another model.
        OSError: if the weights cannot be had; see `fetch`.

    Example:
        >>> model = keras_gappos.zoo.load("gapnet_resnet18.digits_location_3x3_w8")
        >>> model.output_shape
        (None, 9)
    """
    model = info(name)
    network = build(model)
    load_weights(network, fetch(name), name)
    return network


def build(model: ZooModel) -> keras.Model:
    """Builds a pretrained model's network, with fresh weights.

    Args:
        model: its entry of the registry.

    Raises:
        ValueError: for a builder that the package does not have.
    """
    if model.builder not in BUILDERS:
        raise ValueError(
            f"`builder` must be one of {tuple(BUILDERS)}. Received: {model.builder!r}, of "
            f"{model.name}"
        )
    return BUILDERS[model.builder](**model.arguments)


def load_weights(network, path, name):
    """Fills a network with the weights of a file of the zoo.

    Args:
        network: as `build` gives it.
        path: of the `.weights.h5` file.
        name: of the model whose weights they must be.

    Raises:
        ValueError: if they do not fit the network; the message names their model and `name`. If it
            is no such file.
    """
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is no HDF5 file of weights, such as those of {name!r}")
    try:
        with warnings.catch_warnings():  # one for each layer that differs: the error says it all
            warnings.simplefilter("ignore")
            network.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        owner = owner_of(digest_of(path))
        whose = "a model that is not of this zoo" if owner in (None, name) else repr(owner)
        raise ValueError(f"{path} has the weights of {whose}, not of {name!r}") from error


def outputs_of(model: ZooModel, network, inputs):
    """What a pretrained model answers, as far as it is no matter of chance.

    Args:
        model: its entry of the registry.
        network: as `load` gives it.
        inputs: `(n, height, width, channels)`, as the network takes them.

    Returns:
        NumPy array: the logits; of a PermuteNet, what its permutation is given.
    """
    if model.compared_layer is not None:
        network = keras.Model(network.input, network.get_layer(model.compared_layer).output)
    return keras.ops.convert_to_numpy(network(inputs, training=False))
