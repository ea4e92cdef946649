"""Switch channels of a feature map off."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from keras_gappos.layers import ChannelMask
from keras_gappos.surgery.graph import Graph, free_name, rebuild
from keras_gappos.surgery.latent import feature_map_tensor, find_feature_map


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

    Example:
        >>> model = keras_gappos.models.permutenet((8, 8, 1), num_outputs=10, width=4)
        >>> ablated = ablate(model, channels=range(32))
        >>> outputs = ablated.predict(np.random.rand(2, 8, 8, 1), verbose=0)
        >>> bool((outputs[0] == outputs[1]).all())
        True

    Source: Islam et al., ICCV 2021, the section on targeting position-encoding channels.
    """
    *nested, layer = find_feature_map(model, latent)
    inner = nested[-1] if nested else model
    graph = Graph(inner)
    features = feature_map_tensor(graph, layer)
    graph.others_needed_after(features)  # raises if no output depends on the feature map
    mask = ChannelMask(channels, name=free_name(inner, "channel_mask"))
    masked = graph.model_of(graph.outputs_with(features, mask(features)))
    return rebuild(model, lambda each: masked if each is inner else None) if nested else masked
