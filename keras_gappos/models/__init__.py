"""Networks, built with the Functional API; all return logits."""

from keras_gappos.models.deeplabv3 import deeplabv3
from keras_gappos.models.gapnet import gapnet
from keras_gappos.models.permutenet import permutenet
from keras_gappos.models.resnet import resnet

__all__ = ["deeplabv3", "gapnet", "permutenet", "resnet"]
