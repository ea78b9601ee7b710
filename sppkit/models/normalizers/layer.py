"""Layer normalization of a map: each sample over all of its channels and space (Ba et al. 2016, arXiv:1607.06450)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.models.normalizers.group import GroupNorm

if TYPE_CHECKING:
    from torch import nn


def layer_norm(channels: int) -> nn.Module:
    """Return layer normalization of (N, C, H, W): group normalization with one group, and a scale per channel.

    This is what the papers on Batch-Channel and group normalization call LN. ``torch.nn.LayerNorm((C, H, W))`` is the
    same at initialization, but has a scale per element; the LayerNorm of ConvNeXt normalizes each position alone.
    """
    return GroupNorm(channels, groups=1)
