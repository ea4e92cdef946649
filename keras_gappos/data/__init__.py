"""Data sets by name, as NumPy arrays."""

from keras_gappos.data.loading import load

__all__ = ["load"]
