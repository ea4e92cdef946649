"""How often a classifier's decision stays the same when its input shifts."""
