"""One backbone with two heads: one names the image's class, the other the cell that it is on."""

import keras

from keras_gappos import models
from keras_gappos.experiments.location import run as location


def build_network(settings, name, task, image_shape, num_classes=None):
    """Builds an untrained network.

    Args:
        settings: a `ProbeSettings`.
        name: "gapnet", "permutenet", or "resnet": the same backbone, global pooling, and a dense
            layer, which sees the pooled channels, and in their order.
        task: "class" or "location".
        image_shape: `(height, width, channels)` of one image.
        num_classes: number of image classes, for the class.
    """
    grid_size = settings.grid_size
    if name != "resnet":
        return location.build_network(settings, name, task, grid_size, image_shape, num_classes)
    height, width, channels = image_shape
    return models.resnet(
        settings.depth,
        (grid_size * height, grid_size * width, channels),
        grid_size**2 if task == "location" else num_classes,
        settings.width,
        stem="canvas",
    )


def feature_layer(network):
    """The layer of one of these networks that gives the backbone's last feature map.

    Args:
        network: the network; a PermuteNet's permutation must come after global pooling.

    Returns:
        A `keras.layers.Layer`.
    """
    return [layer for layer in network.layers if isinstance(layer, keras.layers.ReLU)][-1]


def with_location_head(settings, name, network, image_shape):
    """Builds a network with the same backbone, frozen, and an untrained head of the same kind.

    Args:
        settings, name, image_shape: as in `build_network`.
        network: the trained network of that name, which stays as it is.

    Returns:
        A Functional `keras.Model` from canvases to logits `(batch, grid_size**2)`. Its backbone has
        a copy of the weights, which are not trained; its batch normalization uses what the
        backbone's own training has left, in training, too.
    """
    twin = build_network(settings, name, "location", image_shape)
    backbone = twin.layers[: twin.layers.index(feature_layer(twin)) + 1]
    for layer in backbone:
        layer.set_weights(network.get_layer(layer.name).get_weights())
        layer.trainable = False
    return twin
