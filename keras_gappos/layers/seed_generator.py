"""Random draws that differ between replicas and resume after a reload."""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_gappos.arguments import Tensor


class SeedGenerator(keras.random.SeedGenerator):
    """A `keras.random.SeedGenerator` for layers and models that are saved or distributed.

    Keras keeps one state for all replicas of a `tf.distribute.Strategy`, which would all draw the
    same numbers; and it leaves the state out of weights files, so that a reloaded model would
    draw its first numbers again. Give one to a layer as an attribute and call `save` and `load`
    in its `save_own_variables` and `load_own_variables`.
    """

    _KEY = "seed_generator_state"

    def next(self, ordered: bool = True) -> Tensor:
        """Returns the next seed, a different one on each replica."""
        seed = super().next(ordered)
        tf: Any = sys.modules.get("tensorflow")
        if keras.backend.backend() != "tensorflow" or not tf.distribute.has_strategy():
            return seed
        context = tf.distribute.get_replica_context()
        if context is None:  # in the strategy's scope, but on no replica
            return seed
        # Far apart, so that no replica's stream is that of a neighboring seed.
        stride = ops.cast(context.replica_id_in_sync_group, seed.dtype) * 1_000_003
        return seed + ops.stack([stride, ops.zeros_like(stride)])

    def save(self, store: Any) -> None:
        """Writes the state into the weights `store` of a layer."""
        store[self._KEY] = ops.convert_to_numpy(self.state).astype("int64")

    def load(self, store: Any) -> None:
        """Restores the state from the weights `store` of a layer, written by any backend."""
        self.state.assign(np.asarray(store[self._KEY]).astype(self.state.dtype))
