"""One forward pass, after which the model is as it was."""
