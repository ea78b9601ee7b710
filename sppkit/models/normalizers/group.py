"""Group normalization (Wu & He 2018, arXiv:1803.08494)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from sppkit.models.normalizers.batch import EPSILON
from sppkit.models.normalizers.settings import GROUPS


class GroupNorm(nn.GroupNorm):
    """Group normalization that takes any number of channels.

    ``groups`` groups where they divide the channels; else gcd(groups, channels), which ``repr`` shows. Note that 8
    channels then make 8 groups of one, which is instance normalization.
    """

    def __init__(self, channels: int, groups: int = GROUPS) -> None:
        super().__init__(math.gcd(groups, channels), channels, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each group of each sample."""
        check_group_size(x, self.num_groups)
        return super().forward(x)


def check_group_size(x: Tensor, groups: int) -> None:
    """Refuse groups of one value: normalized they are 0, whatever the signal."""
    if x[0].numel() <= groups:
        raise ValueError(
            f"{groups} groups of {x.shape[1]} channels on a map of {'×'.join(map(str, x.shape[2:]))} are single values"
        )


def group_norm(channels: int, groups: int = GROUPS) -> nn.Module:
    """Return group normalization of (N, C, H, W): each sample over neighbouring channels and space."""
    return GroupNorm(channels, groups)
