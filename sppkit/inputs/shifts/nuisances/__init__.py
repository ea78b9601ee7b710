"""Nuisances: transformations that leave the label and act alike on every class (Zhou et al. 2022, arXiv:2203.09739)."""
