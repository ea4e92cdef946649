"""`python -m keras_gappos` is the command `keras-gappos`."""

import sys

from keras_gappos.cli.main import main

sys.exit(main())
