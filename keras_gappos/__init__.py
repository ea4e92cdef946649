"""Position information in the channels of CNNs, for Keras.

Source: Islam, Kowal, Jia, Derpanis, Bruce, *Global Pooling, More than Meets the Eye: Position
Information is Encoded Channel-Wise in CNNs*, ICCV 2021.

Every layer and model class is imported here, so that `keras.saving.load_model` finds them as soon
as `keras_gappos` is imported. The command line alone imports no more than a command needs.
"""

import sys

from keras_gappos.startup import choose_backend, is_command_line
from keras_gappos.version import __version__

if not is_command_line(sys.argv, sys.orig_argv):
    choose_backend()
    from keras_gappos import analysis, data, layers, models, surgery, training, tuning, zoo
    from keras_gappos.training import AugShift, GridTask

__all__ = [
    "AugShift",
    "GridTask",
    "__version__",
    "analysis",
    "data",
    "layers",
    "models",
    "surgery",
    "training",
    "tuning",
    "zoo",
]
