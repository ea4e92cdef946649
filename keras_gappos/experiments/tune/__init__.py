"""Search AugShift's settings with KerasTuner."""
