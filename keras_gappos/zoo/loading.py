"""Builds pretrained models from the registry and loads their verified weights."""

from __future__ import annotations

import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import h5py
import keras
import numpy as np

from keras_gappos import models
from keras_gappos.arguments import integer
from keras_gappos.layers import GridPlacement
from keras_gappos.zoo.cache import digest_of, fetch
from keras_gappos.zoo.model import ZooModel
from keras_gappos.zoo.registry import info, owner_of


class Builder(NamedTuple):
    """A function of `keras_gappos.models`, and where its networks have their tops.

    Attributes:
        build: the function.
        outputs: its argument for the number of outputs.
        head: the layer whose weights belong to the outputs.
        top: the first layer that is not part of the features; it reads their map.
    """

    build: Callable[..., keras.Model]
    outputs: str
    head: str
    top: str


BUILDERS = {
    "resnet": Builder(models.resnet, "num_classes", "logits", "latent"),
    "gapnet": Builder(models.gapnet, "num_outputs", "class_conv", "class_conv"),
    "permutenet": Builder(models.permutenet, "num_outputs", "logits", "latent"),
    "deeplabv3": Builder(models.deeplabv3, "num_classes", "class_conv", "latent"),
}


def load(
    name: str,
    num_classes: int | None = None,
    include_top: bool = True,
    input_shape: Sequence[int | None] | None = None,
    preprocessing: bool = False,
) -> keras.Model:
    """Loads a pretrained model, on any backend.

    This package builds the network; the file supplies only numbers, never code. `info(name)`
    describes inputs and outputs; `info(name).preprocess` prepares images.

    Args:
        name: a model's name; see `list_models`.
        num_classes: number of outputs of a new, untrained last layer, at least 1, on the
            pretrained features; `None` keeps the pretrained outputs.
        include_top: `False` gives the features alone: the map `(batch, height, width, channels)`
            that is pooled, or that DeepLabv3's branches read.
        input_shape: `(height, width, channels)` of the network's input, with the pretrained number
            of channels; height and width may be `None`. By default the size of the training.
        preprocessing: whether the model prepares images itself: its inputs are raw images, uint8 or
            floats in [0, 255], and for a network on a grid `[images, cells]`. The network is then
            one of its layers.

    Returns:
        A Functional `keras.Model`, not compiled, that returns logits or features.

    Raises:
        ValueError: for an unknown name, an argument out of range or that excludes another one, or
            weights of another model.
        OSError: if the weights cannot be fetched; see `fetch`.

    Examples:
        >>> model = keras_gappos.zoo.load("gapnet_resnet18.digits_location_3x3_w8")
        >>> model.output_shape
        (None, 9)
        >>> features = keras_gappos.zoo.load("resnet18.cifar10", include_top=False)
        >>> features.output_shape
        (None, 4, 4, 128)
    """
    model = info(name)
    changed = _changed_arguments(model, num_classes, include_top, input_shape, preprocessing)
    network = build(model)
    load_weights(network, fetch(name), name)
    builder = BUILDERS[model.builder]
    if changed:
        pretrained, network = network, builder.build(**{**model.arguments, **changed})
        kept = {builder.head} if builder.outputs in changed else set()
        for layer in network.layers:
            if layer.name not in kept:
                layer.set_weights(pretrained.get_layer(layer.name).get_weights())
    if not include_top:
        top = network.get_layer(builder.top)
        network = keras.Model(network.input, top.input, name=f"{network.name}_features")
    return with_preprocessing(model, network) if preprocessing else network


def _changed_arguments(model, num_classes, include_top, input_shape, preprocessing):
    """The builder's arguments that differ from the pretrained network's."""
    changed = {}
    if num_classes is not None:
        if not include_top:
            raise ValueError(
                "`num_classes` needs the top, whose last layer it means: set `include_top=True`. "
                f"Received: num_classes={num_classes}, include_top={include_top}"
            )
        outputs = BUILDERS[model.builder].outputs
        changed[outputs] = integer("num_classes", num_classes, 1)
    if input_shape is not None:
        channels = model.image_shape[-1]
        if len(input_shape) != 3 or input_shape[-1] != channels:
            raise ValueError(
                f"`input_shape` must be (height, width, {channels}) for the pretrained weights of "
                f"{model.name!r}. Received: input_shape={input_shape!r}"
            )
        if preprocessing and model.is_on_grid:
            raise ValueError(
                "`preprocessing` puts images of the pretrained size on the grid: leave "
                f"`input_shape` at None, or set `preprocessing=False`. Received: "
                f"input_shape={input_shape!r}, preprocessing={preprocessing}"
            )
        changed["input_shape"] = tuple(input_shape)
    return changed


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
    return BUILDERS[model.builder].build(**model.arguments)


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
