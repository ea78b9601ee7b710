"""From an observed forward pass to the steps of theory: what every operation does to the covariance of the signal."""
