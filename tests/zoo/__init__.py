"""Small models whose residual joins are known by construction, each with a forward pass written out by hand."""
