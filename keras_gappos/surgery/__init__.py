"""Take any Keras graph apart and rebuild it."""

from keras_gappos.surgery.channels import ablate, permute_channels

__all__ = ["ablate", "permute_channels"]
