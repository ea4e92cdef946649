"""Take any Keras graph apart and rebuild it."""

from keras_gappos.surgery.antialias import antialias
from keras_gappos.surgery.channels import ablate, permute_channels
from keras_gappos.surgery.padding import set_padding

__all__ = ["ablate", "antialias", "permute_channels", "set_padding"]
