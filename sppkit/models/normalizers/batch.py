"""Batch normalization (Ioffe & Szegedy 2015, arXiv:1502.03167)."""

from __future__ import annotations

from torch import nn

# The epsilon of the published ResNets; also torch's default.
EPSILON = 1e-5


def batch_norm(channels: int) -> nn.Module:
    """Return batch normalization of (N, C, H, W) over batch and space, scale 1 and offset 0."""
    return nn.BatchNorm2d(channels, eps=EPSILON)
