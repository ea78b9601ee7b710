"""A probe over training steps, and where its tables go."""
