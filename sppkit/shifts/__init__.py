"""Shifts of the input: transformations of pictures, keyed by (seed, name, sample index)."""
