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

    Keras shares one state among the replicas of a `tf.distribute.Strategy`, so that all draw the
    same numbers, and does not save it, so that a reloaded model repeats its first draws. Assign one
    to an attribute of a layer, and call `save` and `load` in its `save_own_variables` and
    `load_own_variables`.
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
        # Far apart, so that no replica draws what a neighboring seed draws.
        stride = ops.cast(context.replica_id_in_sync_group, seed.dtype) * 1_000_003
        return seed + ops.stack([stride, ops.zeros_like(stride)])

    def save(self, store: Any) -> None:
        """Writes the state into the weights `store` of a layer."""
        store[self._KEY] = ops.convert_to_numpy(self.state).astype("int64")

    def load(self, store: Any) -> None:
        """Restores the state from the weights `store` of a layer, written by any backend."""
        self.state.assign(np.asarray(store[self._KEY]).astype(self.state.dtype))
