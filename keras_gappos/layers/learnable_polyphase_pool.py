"""Learnable polyphase pooling: keep the grid of pixels that a small network scores highest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_gappos.arguments import Tensor, integer
from keras_gappos.layers.data_format import (
    from_channels_last,
    shape_to_channels_last,
    standardize_data_format,
)
from keras_gappos.layers.pad import Pad2D
from keras_gappos.layers.polyphase import (
    check_map,
    check_same_size,
    extended_map,
    first_of_largest,
    pooled_shape,
    take_polyphase,
)
from keras_gappos.layers.seed_generator import SeedGenerator


@keras.saving.register_keras_serializable(package="keras_gappos")
class LearnablePolyphasePool2D(keras.layers.Layer):
    """Subsamples each feature map on the grid that a small network scores highest.

    A map has `strides**2` polyphase components, each with every `strides`-th pixel from a different
    start. One network scores them all: a 3x3 convolution with circular padding, ReLU, the average
    over all positions, and a weighted sum of the channels. (The paper's second convolution, between
    ReLU and average, computes nothing else.) In inference each sample keeps the component with the
    highest score, on a tie the first, row by row. In training it gets a weighted mean of all
    components, with random weights that the scores determine (Gumbel-softmax), so that the scores
    are learned. A circular shift of the input permutes the components, so it only shifts the
    output, unless there is a tie.

    Args:
        strides: step in pixels along both axes, at least 1.
        hidden_channels: channels of the network's convolution, at least 1.
        temperature: of the Gumbel-softmax, above 0; the lower, the closer to a single component.
        data_format: `"channels_last"` or `"channels_first"`: the order of the axes. Defaults to
            `keras.config.image_data_format()`.
        seed: integer in [0, 2**32) of the draws in training, or `None` for different ones at each
            construction.

    Input shape:
        `(batch, height, width, channels)`, or with "channels_first" `(batch, channels, height,
        width)`; height and width may be unknown, the channels must be known. Or a list of such
        maps, which may differ in the channels: the first is scored, and all are pooled alike, so
        that a block's shortcut uses the grid of the main path. The first should not be blurred:
        after a blur, all components have the same mean. If `strides` does not divide a side, maps
        are extended with their first rows or columns, as in `AdaptivePolyphasePool2D`.

    Output shape:
        The inputs' shape with `ceil(height / strides)` and `ceil(width / strides)`, in the layer's
        compute dtype; for a list, a list.

    Raises:
        ValueError: for an invalid argument, an input that is not of rank 4, has an unknown number
            of channels or a side smaller than half of `strides`, or a list of maps that differ in
            more than their channels.

    Examples:
        >>> pool = keras_gappos.layers.LearnablePolyphasePool2D()
        >>> main, shortcut = pool([np.ones((2, 8, 6, 3)), np.ones((2, 8, 6, 1))])
        >>> tuple(main.shape), tuple(shortcut.shape)
        ((2, 4, 3, 3), (2, 4, 3, 1))

    Source: Rojas-Gomez et al., NeurIPS 2022, arXiv 2210.08001, section 4.
    """

    def __init__(
        self,
        strides: int = 2,
        hidden_channels: int = 16,
        temperature: float = 1.0,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.strides = integer("strides", strides, 1)
        self.hidden_channels = integer("hidden_channels", hidden_channels, 1)
        self.temperature = _above_zero("temperature", temperature)
        self.data_format = standardize_data_format(data_format)
        self.seed = None if seed is None else integer("seed", seed, 0, below=2**32)
        self.seed_generator = SeedGenerator(self.seed)
        # At this dilation a pixel sees none but those of its own component.
        self.pad = Pad2D(self.strides, "circular", "channels_last", dtype=self.dtype_policy)
        self.conv = keras.layers.Conv2D(
            self.hidden_channels,
            3,
            dilation_rate=self.strides,
            data_format="channels_last",
            activation="relu",
            kernel_initializer="he_normal",
            dtype=self.dtype_policy,
            name="conv",
        )
        exact = keras.backend.result_type(self.compute_dtype, "float32")
        self.score = keras.layers.Dense(1, use_bias=False, dtype=exact, name="score")

    def build(self, input_shape: Any) -> None:
        """Builds the network that scores the components of the first map."""
        is_list = isinstance(input_shape[0], (list, tuple))
        first = input_shape[0] if is_list else input_shape
        check_map(self.name, first, self.strides, self.data_format)
        channels = shape_to_channels_last(first, self.data_format)[3]
        if channels is None:
            raise ValueError(
                f"{self.name!r} needs to know the number of channels. Received: shape={first}"
            )
        self.conv.build((None, None, None, channels))
        self.score.build((None, None, self.hidden_channels))

    def call(self, inputs: Tensor | Sequence[Tensor], training: bool | None = None) -> Any:
        """Returns one component, or in training a random mixture, of each map of each sample."""
        self._check(inputs)
        maps = [ops.cast(x, self.compute_dtype) for x in keras.tree.flatten(inputs)]
        maps = [extended_map(x, self.strides, self.data_format) for x in maps]
        scores = self._scores(maps[0])
        if training:
            weights = ops.cast(self._draw(scores), self.compute_dtype)
            pooled = [self._mixture(x, weights) for x in maps]
        else:
            choice = first_of_largest(scores)
            pooled = [take_polyphase(x, choice, self.strides) for x in maps]
        pooled = [from_channels_last(x, self.data_format) for x in pooled]
        return keras.tree.pack_sequence_as(inputs, pooled)

    def _scores(self, x):
        """The score of each component of each sample, `(batch, strides**2)`."""
        _, height, width, _ = ops.shape(x)
        hidden = ops.cast(self.conv(self.pad(x)), self.score.compute_dtype)
        step, count = self.strides, self.strides * self.hidden_channels
        hidden = ops.reshape(hidden, (-1, height // step, step, width // step, count))
        hidden = ops.mean(hidden, axis=(1, 3))
        hidden = ops.reshape(hidden, (-1, step**2, self.hidden_channels))
        return self.score(hidden)[..., 0]

    def _draw(self, scores):
        """Weights of the components, of sum 1: a sample of the Gumbel-softmax of the scores."""
        shape = (ops.shape(scores)[0], self.strides**2)
        uniform = keras.random.uniform(shape, 1e-30, 1.0, "float32", self.seed_generator)
        gumbel = -ops.log(-ops.log(uniform))
        return ops.softmax((scores + ops.cast(gumbel, scores.dtype)) / self.temperature)

    def _mixture(self, x, weights):
        """The mean of the components of each sample of `x`, by its `weights`."""
        _, height, width, _ = ops.shape(x)
        step = self.strides
        # By the weight of each pixel: the gradient of a slice for each component takes ten times
        # as long on CPUs.
        weights = ops.reshape(weights, (-1, step, step))
        weights = ops.tile(weights, (1, height // step, width // step))[..., None]
        pooled = ops.average_pool(x * weights, step, step, data_format="channels_last")
        return pooled * step**2

    def _check(self, inputs):
        first, *others = (x.shape for x in keras.tree.flatten(inputs))
        check_map(self.name, first, self.strides, self.data_format)
        for shape in others:
            check_same_size(self.name, "Each map", shape, first, self.data_format)

    def save_own_variables(self, store: Any) -> None:
        """Saves the random state."""
        self.seed_generator.save(store)

    def load_own_variables(self, store: Any) -> None:
        """Restores the random state."""
        self.seed_generator.load(store)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The inputs' shape with `ceil(height / strides)` and `ceil(width / strides)`."""
        return keras.tree.map_shape_structure(self._pooled, input_shape)

    def _pooled(self, shape):
        return pooled_shape(shape, self.strides, self.data_format)

    def compute_output_spec(
        self, inputs: Tensor | Sequence[Tensor], training: bool | None = None
    ) -> Any:
        """The pooled shape, and the compute dtype."""
        self._check(inputs)
        return keras.tree.map_structure(
            lambda x: keras.KerasTensor(self._pooled(x.shape), dtype=self.compute_dtype), inputs
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "strides": self.strides,
            "hidden_channels": self.hidden_channels,
            "temperature": self.temperature,
            "data_format": self.data_format,
            "seed": self.seed,
        }


def _above_zero(name, value):
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"`{name}` must be a number above 0. Received: {name}={value!r}")
    return number
