"""Can a network name the cell of an image, and its class?"""
