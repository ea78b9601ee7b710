"""Instance normalization (Ulyanov et al. 2016, arXiv:1607.08022)."""

from __future__ import annotations

from torch import nn

from sppkit.models.normalizers.batch import EPSILON


def instance_norm(channels: int) -> nn.Module:
    """Return instance normalization of (N, C, H, W): each channel of each sample over space.

    Train and eval mode are the same. A map of 1x1 is refused by torch, because it would become 0.
    """
    return nn.InstanceNorm2d(channels, eps=EPSILON, affine=True)
