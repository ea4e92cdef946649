"""Searches that survive kills; the only place that uses KerasTuner's private names."""
