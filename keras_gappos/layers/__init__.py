"""Tensors in, tensors out: one Keras layer a file."""

from keras_gappos.layers.channel_permutation import ChannelPermutation
from keras_gappos.layers.grid_placement import GridPlacement, place_on_grid

__all__ = ["ChannelPermutation", "GridPlacement", "place_on_grid"]
