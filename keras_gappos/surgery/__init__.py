"""Take any Keras graph apart and rebuild it."""

from keras_gappos.surgery.antialias import antialias
from keras_gappos.surgery.channels import ablate, permute_channels

__all__ = ["ablate", "antialias", "permute_channels"]
