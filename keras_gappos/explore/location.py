"""GAPNet and PermuteNet with the order of their channels as an input."""

from __future__ import annotations

import keras
from keras import ops

from keras_gappos import data, zoo
from keras_gappos.layers import ChannelPermutation

GRIDS = (3, 5, 7)
# Behind which layer each network's channels are put in the given order.
_PLACES = {"gapnet": "stage4_block2_relu2", "permutenet": "latent"}
NETWORKS = tuple(_PLACES)


def zoo_name(network: str, grid_size: int) -> str:
    """The zoo's name of a network for digits on a grid."""
    return f"{network}_resnet18.digits_location_{grid_size}x{grid_size}_w8"


def ordered_network(network: str, grid_size: int) -> keras.Model:
    """A pretrained network for digits on a grid whose channels are put in a given order.

    Args:
        network: `"gapnet"`, where the last feature map is reordered, or `"permutenet"`, where the
            pooled vector is, in place of its random permutation.
        grid_size: cells along each side: 3, 5 or 7.

    Returns:
        A Functional model of raw canvases, float32 `(batch, 8 * grid_size, 8 * grid_size, 1)` in
        [0, 255], and the order, int32 `(batch, channels)`, of which the first row counts. It gives
        the probabilities of the cells, `(batch, grid_size**2)`.
    """
    model = zoo.load(zoo_name(network, grid_size))
    info = zoo.info(zoo_name(network, grid_size))
    names = [layer.name for layer in model.layers]
    start = names.index(_PLACES[network])
    channels = model.layers[start].output.shape[-1]
    canvas = keras.Input(info.input_shape, name="canvas")
    order = keras.Input((channels,), dtype="int32", name="order")
    body = keras.Model(model.input, model.layers[start].output)
    x = ops.take(body(info.preprocessing()(canvas)), order[0], axis=-1)
    for layer in model.layers[start + 1 :]:
        if not isinstance(layer, ChannelPermutation):
            x = layer(x)
    return keras.Model([canvas, order], ops.softmax(x), name=network)


def setup(grid_size: int, networks: dict[str, keras.Model], digits: int = 5) -> dict:
    """What the page must know of a grid: its networks' channels, the background, and digits.

    Args:
        grid_size: cells along each side.
        networks: the grid's `ordered_network`s, by name.
        digits: number of sample images.

    Returns:
        A dictionary for JSON: `background`, the gray value around an image, which is the data
        set's mean, in [0, 255]; `channels` by network; and `digits`, lists of gray values.
    """
    images, _ = data.load("digits", "test", limit=40)
    info = zoo.info(zoo_name("gapnet", grid_size))
    return {
        "grid_size": grid_size,
        "side": info.image_shape[0],
        "background": 255 * info.mean[0],
        "channels": {name: model.inputs[1].shape[-1] for name, model in networks.items()},
        "digits": [image[..., 0].ravel().tolist() for image in images[:: 40 // digits]],
    }
