"""Finding the residual joins of a network that does not declare them."""
