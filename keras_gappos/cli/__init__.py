"""The command line `keras-gappos`."""
