"""Builds pretrained models from the registry and loads their verified weights."""

import pathlib
import warnings
from collections.abc import Callable

import h5py
import keras
import numpy as np

from keras_gappos import models
from keras_gappos.layers import GridPlacement
from keras_gappos.zoo.cache import digest_of, fetch
from keras_gappos.zoo.model import ZooModel
from keras_gappos.zoo.registry import info, owner_of

BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "resnet": models.resnet,
    "gapnet": models.gapnet,
    "permutenet": models.permutenet,
    "deeplabv3": models.deeplabv3,
}


def load(name: str, preprocessing: bool = False) -> keras.Model:
    """Loads a pretrained model, on any backend.

    This package builds the network; the file supplies only numbers, never code. `info(name)`
    describes inputs and outputs; `info(name).preprocess` prepares images.

    Args:
        name: a model's name; see `list_models`.
        preprocessing: whether the model prepares images itself: its inputs are raw images, uint8 or
            floats in [0, 255], and for a network on a grid `[images, cells]`. The network is then
            one of its layers.

    Returns:
        A Functional `keras.Model`, not compiled, that returns logits.

    Raises:
        ValueError: for an unknown name, or weights of another model.
        OSError: if the weights cannot be fetched; see `fetch`.

    Example:
        >>> model = keras_gappos.zoo.load("gapnet_resnet18.digits_location_3x3_w8")
        >>> model.output_shape
        (None, 9)
    """
    model = info(name)
    network = build(model)
    load_weights(network, fetch(name), name)
    return with_preprocessing(model, network) if preprocessing else network


def with_preprocessing(model: ZooModel, network: keras.Model) -> keras.Model:
    """The network behind the layers that make its inputs of raw images.

    Args:
        model: the network's entry.
        network: the network.

    Returns:
        A Functional model of the input `images`, raw ones; for a network on a grid of the list of
        `images` and `cells`, the cell of each.
    """
    shape = model.image_shape if model.is_on_grid else network.input_shape[1:]
    images = keras.Input(shape, name="images")
    prepared, inputs = model.preprocessing()(images), images
    if model.is_on_grid:
        cells = keras.Input((), dtype="int32", name="cells")
        prepared, inputs = GridPlacement(model.grid_size)(prepared, cells), [images, cells]
    return keras.Model(inputs, network(prepared), name=f"{network.name}_of_images")


def build(model: ZooModel) -> keras.Model:
    """Builds a registered model's network with fresh weights."""
    if model.builder not in BUILDERS:
        raise ValueError(
            f"`builder` must be one of {tuple(BUILDERS)}. Received: {model.builder!r}, of "
            f"{model.name}"
        )
    return BUILDERS[model.builder](**model.arguments)


def load_weights(network: keras.Model, path: pathlib.Path, name: str) -> None:
    """Loads a `.weights.h5` file of the zoo into a network.

    Args:
        network: the result of `build`.
        path: the file.
        name: the model that the weights must belong to.

    Raises:
        ValueError: if it is not a weights file, or has another model's weights; the message names
            that model.
    """
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is not a weights file of {name!r}: it is not HDF5")
    try:
        with warnings.catch_warnings():  # the error covers the warning for each layer
            warnings.simplefilter("ignore")
            network.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        owner = owner_of(digest_of(path))
        whose = "a model outside this zoo" if owner in (None, name) else repr(owner)
        raise ValueError(f"{path} has the weights of {whose}, not of {name!r}") from error


def outputs_of(model: ZooModel, network: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """The deterministic outputs of a network: logits, or a PermuteNet's latent before shuffling."""
    if model.compared_layer is not None:
        network = keras.Model(network.input, network.get_layer(model.compared_layer).output)
    return keras.ops.convert_to_numpy(network(inputs, training=False))


def load_given_weights(network: keras.Model, path: str | pathlib.Path, kind: str) -> None:
    """Loads a user's weights file into a network.

    Args:
        network: an untrained network.
        path: a `.weights.h5` file.
        kind: the expected network, for the error message.

    Raises:
        ValueError: if the weights are those of another network.
    """
    try:
        with warnings.catch_warnings():  # the error covers the warning for each layer
            warnings.simplefilter("ignore")
            network.load_weights(pathlib.Path(path).expanduser())
    except (ValueError, OSError, KeyError) as error:
        reason = [*str(error).strip().splitlines(), type(error).__name__][0]
        raise ValueError(
            f"`weights` must be those of {kind}. Received: weights={str(path)!r} ({reason})"
        ) from error
