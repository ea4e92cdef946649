"""The convolutions and blocks of a ResNet, and how they pad and halve feature maps."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import layers

from keras_gappos.layers import (
    AdaptivePolyphasePool2D,
    BlurPool2D,
    LearnablePolyphasePool2D,
    Pad2D,
)


def conv(
    x: keras.KerasTensor,
    channels: int,
    kernel_size: int,
    strides: int,
    name: str,
    dilation: int = 1,
    padding: str = "zeros",
    **options: Any,
) -> keras.KerasTensor:
    """A convolution padded as in PyTorch, without bias unless `options` of `Conv2D` have one.

    `strides` or `dilation` must be 1; `padding` is a mode of `Pad2D`.
    """
    how = "same"
    if kernel_size > 1 and (strides > 1 or padding != "zeros"):
        # "same" would pad an even-sized map on one side only; PyTorch pads both.
        x, how = _pad(x, dilation * (kernel_size // 2), padding, name), "valid"
    return layers.Conv2D(
        channels,
        kernel_size,
        strides,
        how,
        data_format="channels_last",
        dilation_rate=dilation,
        name=name,
        **{"use_bias": False, "kernel_initializer": "he_normal", **options},
    )(x)


def _pad(x, sides, padding, name):
    if padding == "zeros":
        pad = layers.ZeroPadding2D(sides, data_format="channels_last", name=f"{name}_pad")
    else:
        pad = Pad2D(sides, padding, "channels_last", name=f"{name}_pad")
    return pad(x)


def batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """A batch normalization with PyTorch's momentum and epsilon."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


@dataclasses.dataclass(frozen=True)
class Blocks:
    """The blocks of a ResNet.

    Attributes:
        downsampling: how they halve maps, as in `resnet`.
        padding: a mode of `Pad2D`.
        blur_kernel: taps of the blur along each axis; 1 is none.
    """

    downsampling: str
    padding: str
    blur_kernel: int

    def stem(self, x, width, kernel_size, strides, max_pool):
        """A convolution and perhaps a max pool, which halves the map."""
        x = conv(x, width, kernel_size, strides, "stem_conv", padding=self.padding)
        x = batch_norm(x, "stem_bn")
        x = layers.ReLU(name="stem_relu")(x)
        return self._max_pool(x) if max_pool else x

    def _max_pool(self, x):
        if self.downsampling == "timm_average":
            return self._halve([x], "stem_")[0]
        if self.downsampling in ("stride", "timm_blur"):
            # Padding with zeros is safe: after a ReLU, nothing is negative.
            x, size, how = _pad(x, 1, self.padding, "stem_pool"), 3, "valid"
        else:
            # As in the authors' code: Zhang's max pool is not padded and drops a row and a column
            # before the blur; Chaman and Dokmanic's keeps the size, which invariance to circular
            # shifts requires.
            size, how = 2, "valid" if self.downsampling == "blur" else "same"
            if self.padding == "circular" or (how == "same" and self.padding != "zeros"):
                x, how = _pad(x, ((0, 1), (0, 1)), self.padding, "stem_pool"), "valid"
        strides = 2 if self.downsampling == "stride" else 1
        pool = layers.MaxPooling2D(
            size, strides, how, data_format="channels_last", name="stem_pool"
        )
        return self._halve([pool(x)], "stem_")[0]

    def basic(self, x, channels, halve, dilations, name):
        """Two 3x3 convolutions and a shortcut."""
        y = self._conv(x, channels, halve, dilations[0], f"{name}conv1")
        y = batch_norm(y, f"{name}bn1")
        y = layers.ReLU(name=f"{name}relu1")(y)
        y, shortcut = self._halve([y, x], name) if halve else (y, x)
        y = self._conv(y, channels, False, dilations[1], f"{name}conv2")
        y = batch_norm(y, f"{name}bn2")
        y = layers.Add(name=f"{name}add")([y, _shortcut(shortcut, channels, halve, name)])
        return layers.ReLU(name=f"{name}relu2")(y)

    def bottleneck(self, x, channels, halve, dilations, name):
        """A 1x1, a 3x3 and a 1x1 convolution and a shortcut."""
        y = conv(x, channels, 1, 1, f"{name}conv1")
        y = batch_norm(y, f"{name}bn1")
        y = layers.ReLU(name=f"{name}relu1")(y)
        y = self._conv(y, channels, halve, dilations[0], f"{name}conv2")
        y = batch_norm(y, f"{name}bn2")
        y = layers.ReLU(name=f"{name}relu2")(y)
        y, shortcut = self._halve([y, x], name) if halve else (y, x)
        y = conv(y, 4 * channels, 1, 1, f"{name}conv3")
        y = batch_norm(y, f"{name}bn3")
        y = layers.Add(name=f"{name}add")([y, _shortcut(shortcut, 4 * channels, halve, name)])
        return layers.ReLU(name=f"{name}relu3")(y)

    def _conv(self, x, channels, halve, dilation, name):
        strides = 2 if halve and self.downsampling == "stride" else 1
        return conv(x, channels, 3, strides, name, dilation, self.padding)

    def _halve(self, maps, name):
        """Halves the map of the main path, and that of the shortcut if given, on the same grid."""
        names = [name, f"{name}shortcut_"][: len(maps)]
        if self.downsampling in ("stride", "timm_blur", "timm_average"):
            return self._halve_main(maps[0], name), *(_pick(x, names[1]) for x in maps[1:])
        if self.downsampling == "blur":
            return self._blur(maps, names, strides=2)
        scored = maps
        if self.blur_kernel > 1:
            maps = self._blur(maps, names, strides=1)
            # After a blur all components have the same mean, so that their scores hardly differ.
            scored = [scored[0], *maps]
        if self.downsampling == "learned_polyphase":
            pool = LearnablePolyphasePool2D(name=f"{name}learned_polyphase")
            return pool(scored)[-len(maps) :]
        return [
            AdaptivePolyphasePool2D(name=f"{prefix}polyphase")(x, reference=maps[0])
            for x, prefix in zip(maps, names)
        ]

    def _halve_main(self, x, name):
        if self.downsampling == "stride":
            return x  # the convolution before has the stride
        if self.downsampling == "timm_blur":
            return self._blur([x], [name], strides=2)[0]
        return layers.AveragePooling2D(
            2, padding="same", data_format="channels_last", name=f"{name}average"
        )(x)

    def _blur(self, maps, names, strides):
        # A blur with zeros would darken the border, so that even the network with zeros reflects.
        how = "reflect" if self.padding == "zeros" else self.padding
        return [
            BlurPool2D(self.blur_kernel, strides, how, name=f"{prefix}blur")(x)
            for x, prefix in zip(maps, names)
        ]


def _pick(x, name):
    # Equal to a 1x1 convolution of stride 2, whose gradient corrupts the heap on TensorFlow 2.21's
    # CPU (oneDNN) for some batch sizes.
    return layers.AveragePooling2D(1, 2, data_format="channels_last", name=f"{name}pick")(x)


def _shortcut(x, channels, halve, name):
    if not halve and x.shape[-1] == channels:
        return x
    x = conv(x, channels, 1, 1, f"{name}shortcut_conv")
    return batch_norm(x, f"{name}shortcut_bn")
