"""A table read once: arrays of seeds and blocks, the laws of healthy networks, and what chance does to them."""
