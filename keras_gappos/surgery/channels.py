"""Switch channels of a feature map off, or shuffle the channels of any layer."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import keras

from keras_gappos.layers import ChannelMask, ChannelPermutation
from keras_gappos.surgery.graph import Graph, free_name, rebuild
from keras_gappos.surgery.latent import (
    check_channels_last,
    check_graph,
    feature_map_tensor,
    find_feature_map,
    find_latent,
    find_layer,
)


def ablate(
    model: keras.Model, channels: Iterable[int], latent: str | keras.layers.Layer | None = None
) -> keras.Model:
    """Returns a network with some channels of its feature map set to zero.

    Every branch that reads the feature map sees zeros. The new model shares its layers and weights
    with the old one, which stays as it is.

    Args:
        model: a Functional or Sequential `keras.Model`.
        channels: indices of the channels, each once, such as `ranking.channels[:20]`.
        latent: a global pooling layer, whose input is the feature map; a layer that outputs the
            feature map; or the name of either, also in a nested backbone. `None` is the last
            global pooling layer or, without any, the layer whose feature map is the only output.

    Returns:
        A Functional `keras.Model`, not compiled, with one `ChannelMask` more.

    Raises:
        ValueError: for channels out of range or repeated, or if there is no such layer or it has
            no feature map.

    Examples:
        >>> model = keras_gappos.models.permutenet((8, 8, 1), num_outputs=10, width=4)
        >>> ablated = ablate(model, channels=range(32))
        >>> outputs = ablated.predict(np.random.rand(2, 8, 8, 1), verbose=0)
        >>> bool((outputs[0] == outputs[1]).all())
        True

    Source: Islam et al., ICCV 2021, the section on targeting position-encoding channels.
    """
    path = find_feature_map(model, latent)
    mask = functools.partial(ChannelMask, channels)
    return _insert(model, path, feature_map_tensor, mask, "channel_mask")


def permute_channels(
    model: keras.Model,
    at: str | keras.layers.Layer | None = None,
    mode: str = "batch",
    seed: int | None = None,
) -> keras.Model:
    """Returns a network that shuffles the channels of one of its layers.

    Compare its scores with the network's own: the difference is what rests on the order of the
    channels. Shuffle early to test a feature map, or at the latent, as PermuteNet does. The new
    model shares its layers and weights with the old one, which stays as it is.

    Args:
        model: a Functional or Sequential `keras.Model` of images `(batch, height, width,
            channels)`.
        at: the layer, or its name, also in a nested backbone, whose output `(batch, ...,
            channels)` is shuffled; `None` is the last global pooling layer.
        mode: `"batch"`: a fresh permutation at every call, shared by the batch; `"sample"`: a fresh
            one for every sample; `"fixed"`: one permutation, saved with the model.
        seed: integer in [0, 2**32), or `None` for other permutations at each construction.

    Returns:
        A Functional `keras.Model`, not compiled, with one `ChannelPermutation` more. Its outputs
        are random, in inference, too, unless the mode is "fixed".

    Raises:
        ValueError: for an unknown mode, or if there is no such layer, it is called more than once,
            has several outputs, or none of the model's outputs depends on it.

    Examples:
        >>> model = keras_gappos.models.resnet(18, (8, 8, 1), num_classes=10, width=4)
        >>> permuted = permute_channels(model, at="stage3_block2_relu2", mode="fixed", seed=0)
        >>> permuted.output_shape
        (None, 10)

    Source: Islam et al., ICCV 2021, section 3 (PermuteNet).
    """
    check_graph(model)
    check_channels_last(model)
    path = find_latent(model) if at is None else find_layer(model, at, "at")
    permutation = functools.partial(ChannelPermutation, mode, "channels_last", seed)
    return _insert(model, path, _only_output, permutation, "channel_permutation")


def _only_output(graph, layer):
    """The tensor `(batch, ..., channels)` that a layer of a graph outputs."""
    outputs = graph.call_of(layer, "at").outputs
    shapes = [tuple(output.shape) for output in outputs]
    if len(shapes) != 1 or len(shapes[0]) < 2 or shapes[0][-1] is None:
        raise ValueError(
            "`at` must be a layer with one output (batch, ..., channels), the channels known. "
            f"Received: {layer.name!r} with {shapes}"
        )
    return outputs[0]


def _insert(model, path, tensor_of, make_layer, name):
    """The model with a layer more, called on a tensor before anything else reads it.

    Args:
        model: the model.
        path: the nested models that contain the tensor's layer, outermost first, and the layer.
        tensor_of: function of the innermost model's graph and the layer that returns the tensor.
        make_layer: function of a name that makes the new layer.
        name: its name; a number is appended if another layer has it.
    """
    *nested, layer = path
    inner = nested[-1] if nested else model
    graph = Graph(inner)
    tensor = tensor_of(graph, layer)
    graph.others_needed_after(tensor)  # raises if no output depends on it
    new = make_layer(name=free_name(inner, name))(tensor)
    changed = graph.model_of(graph.outputs_with(tensor, new))
    return rebuild(model, lambda each: changed if each is inner else None) if nested else changed
