"""What is pushed through a network: Gaussian noise, pictures and arrays."""
