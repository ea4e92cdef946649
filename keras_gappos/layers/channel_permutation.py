"""Shuffle the channels: keeps their values and removes their order."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gappos.arguments import Tensor, integer, one_of
from keras_gappos.layers.data_format import standardize_data_format
from keras_gappos.layers.seed_generator import SeedGenerator

MODES = ("batch", "sample", "fixed")


@keras.saving.register_keras_serializable(package="keras_gappos")
class ChannelPermutation(keras.layers.Layer):
    """Permutes the channels of its input, in training and in inference alike.

    After global pooling, it removes what the order of the channels encodes (above all, absolute
    position) and keeps the set of their values.

    Args:
        mode: `"batch"`: a fresh permutation at every call, shared by the batch (the paper's
            PermuteNet); `"sample"`: a fresh one for every sample at every call; `"fixed"`: one
            permutation, drawn when the layer is built and saved with the model.
        data_format: `"channels_last"` or `"channels_first"`: the channel axis. Defaults to
            `keras.config.image_data_format()`.
        seed: integer in [0, 2**32), or `None` for a different sequence at each construction. Two
            layers with the same seed draw the same permutations on the same backend (TensorFlow
            draws different ones under XLA). In mode "fixed" they are the same everywhere.

    Input shape:
        Rank 2 or more, any dtype: `(batch, channels)`, `(batch, height, width, channels)`,
        `(batch, channels, height, width)`, ... The number of channels must be known.

    Output shape:
        The input's shape and dtype.

    Raises:
        ValueError: for an unknown `mode` or `data_format`, a `seed` out of range, an input of
            rank below 2 or with an unknown number of channels.

    Examples:
        >>> layer = keras_gappos.layers.ChannelPermutation("fixed", seed=0)
        >>> sorted(layer(np.arange(4.0)[None])[0].tolist())
        [0.0, 1.0, 2.0, 3.0]

    Source: Islam et al., ICCV 2021, section 3 (PermuteNet).
    """

    def __init__(
        self, mode: str = "batch", data_format: str | None = None, seed: int | None = None, **kwargs
    ):
        super().__init__(autocast=False, **kwargs)  # any dtype passes through unchanged
        self.mode = one_of("mode", mode, MODES)
        self.seed = None if seed is None else integer("seed", seed, 0, below=2**32)
        self.data_format = standardize_data_format(data_format)
        self.seed_generator = None if mode == "fixed" else SeedGenerator(self.seed)

    def build(self, input_shape: tuple) -> None:
        """Checks the shape and, when the mode is "fixed", draws the permutation."""
        if len(input_shape) < 2:
            raise ValueError(
                "The input must have rank 2 or more, (batch, ..., channels). "
                f"Received: shape={tuple(input_shape)}"
            )
        self.channels = input_shape[self._channel_axis]
        if not self.channels:
            raise ValueError(
                "The number of channels must be known, and at least 1. "
                f"Received: shape={tuple(input_shape)}, data_format={self.data_format!r}"
            )
        self.input_spec = keras.layers.InputSpec(
            min_ndim=2, axes={self._channel_axis: self.channels}
        )
        if self.mode == "fixed":
            # NumPy draws it, so that a seed means the same permutation on every backend.
            permutation = np.random.default_rng(self.seed).permutation(self.channels)
            self.permutation = self.add_weight(
                shape=(self.channels,),
                dtype="int32",
                initializer=lambda shape, dtype: ops.convert_to_tensor(permutation, dtype),
                trainable=False,
                name="permutation",
            )

    def call(self, inputs: Tensor) -> Tensor:
        """Returns `inputs` with its channels permuted."""
        if self.mode == "sample":
            return self._permute_each(inputs, self._draw_each(ops.shape(inputs)[0]))
        permutation = self.permutation if self.mode == "fixed" else self._draw()
        return ops.take(inputs, permutation, axis=self._channel_axis)

    @property
    def _channel_axis(self):
        return -1 if self.data_format == "channels_last" else 1

    def _draw(self):
        identity = ops.arange(self.channels, dtype="int32")
        return keras.random.shuffle(identity, seed=self.seed_generator)

    def _draw_each(self, batch_size):
        keys = keras.random.uniform(
            (batch_size, self.channels), dtype="float32", seed=self.seed_generator
        )
        return ops.argsort(keys, axis=-1)

    def _permute_each(self, inputs, permutations):
        rank = len(inputs.shape)
        axis = self._channel_axis % rank
        shape = [-1 if i == 0 else self.channels if i == axis else 1 for i in range(rank)]
        permutations = ops.broadcast_to(ops.reshape(permutations, shape), ops.shape(inputs))
        return ops.take_along_axis(inputs, permutations, axis=axis)

    def save_own_variables(self, store: Any) -> None:
        """Saves the permutation or the random state."""
        super().save_own_variables(store)
        if self.seed_generator is not None:
            self.seed_generator.save(store)

    def load_own_variables(self, store: Any) -> None:
        """Restores the permutation or the random state."""
        if ("0" in store) != (self.mode == "fixed"):
            raise ValueError(
                "The weights file is of a ChannelPermutation of another mode than this layer's. "
                f"Received: weights {sorted(store.keys())} for mode={self.mode!r}"
            )
        if self.seed_generator is not None:
            self.seed_generator.load(store)
        else:
            super().load_own_variables(store)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """The input's shape."""
        return input_shape

    def compute_output_spec(self, inputs: Tensor) -> keras.KerasTensor:
        """The input's shape and dtype."""
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "mode": self.mode,
            "data_format": self.data_format,
            "seed": self.seed,
        }
