"""Which channels carry position: rank them, switch them off, sweep over how many."""
