"""Where and how to listen to a model."""
