"""Keras layers, one per file."""

from keras_gappos.layers.adaptive_polyphase_pool import AdaptivePolyphasePool2D
from keras_gappos.layers.blur_pool import BlurPool2D
from keras_gappos.layers.channel_mask import ChannelMask
from keras_gappos.layers.channel_permutation import ChannelPermutation
from keras_gappos.layers.grid_placement import GridPlacement, place_on_grid
from keras_gappos.layers.image_standardization import ImageStandardization
from keras_gappos.layers.learnable_polyphase_pool import LearnablePolyphasePool2D
from keras_gappos.layers.pad import Pad2D
from keras_gappos.layers.random_shift import RandomShift, shift_images
from keras_gappos.layers.resize_like import ResizeLike

__all__ = [
    "AdaptivePolyphasePool2D",
    "BlurPool2D",
    "ChannelMask",
    "ChannelPermutation",
    "GridPlacement",
    "ImageStandardization",
    "LearnablePolyphasePool2D",
    "Pad2D",
    "RandomShift",
    "ResizeLike",
    "place_on_grid",
    "shift_images",
]
