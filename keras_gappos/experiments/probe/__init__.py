"""Position channels and class channels of one backbone."""
