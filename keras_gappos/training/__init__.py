"""Keras models with a training step of their own."""

from keras_gappos.training.augshift import AugShift
from keras_gappos.training.grid_task import GridTask
from keras_gappos.training.prepared_model import PreparedModel

__all__ = ["AugShift", "GridTask", "PreparedModel"]
