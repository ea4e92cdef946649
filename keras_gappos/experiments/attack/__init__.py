"""Switch off a segmentation network's position channels."""
