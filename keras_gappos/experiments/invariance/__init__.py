"""Accuracy and shift consistency of AugShift and its rivals."""
