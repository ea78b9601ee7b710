"""The corruptions of CIFAR-C and ImageNet-C (Hendrycks & Dietterich 2019, arXiv:1903.12261)."""
