"""Take any Keras graph apart and rebuild it."""
