"""How often a classifier's decision survives a shift of its input."""
