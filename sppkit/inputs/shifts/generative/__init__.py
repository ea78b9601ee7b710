"""GIT, generative invariance transfer (Zhou et al. 2022): a nuisance learned from pictures, and applied to others."""
