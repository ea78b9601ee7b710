"""Measuring a network on pictures as they are and as a shift makes them, in one forward pass."""
