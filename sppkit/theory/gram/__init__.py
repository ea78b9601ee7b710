"""Any network: the covariance of every two positions of every two samples, followed from layer to layer."""
