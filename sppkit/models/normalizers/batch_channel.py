"""Batch-Channel Normalization (Qiao et al. 2019, arXiv:1911.09738)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from sppkit.models.normalizers.batch import EPSILON, batch_norm
from sppkit.models.normalizers.estimated_batch import RATE, EstimatedBatchNorm
from sppkit.models.normalizers.group import check_group_size
from sppkit.models.normalizers.settings import GROUPS

Affine = Literal["group", "channel"]


class ChannelNorm(nn.Module):
    """Normalization of each group of each sample, with one scale and offset per group or per channel.

    Attributes:
        weight: Scale, shape (groups,) or (channels,), 1 at initialization.
        bias: Offset, the same shape, 0 at initialization.
    """

    def __init__(self, channels: int, groups: int = GROUPS, affine: Affine = "group") -> None:
        super().__init__()
        self.channels = channels
        self.groups = math.gcd(groups, channels)
        size = self.groups if affine == "group" else channels
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))

    def reset_parameters(self) -> None:
        """Set the scale to 1 and the offset to 0."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each group of each sample."""
        check_group_size(x, self.groups)
        repeats = self.channels // self.weight.numel()
        weight, bias = self.weight.repeat_interleave(repeats), self.bias.repeat_interleave(repeats)
        return functional.group_norm(x, self.groups, weight, bias, EPSILON)

    def extra_repr(self) -> str:
        """Name the groups and what has a scale of its own."""
        return f"{self.channels}, groups={self.groups}, scales={self.weight.numel()}"


class BatchChannelNorm(nn.Module):
    """A normalization over the batch, then one over groups of channels of the same tensor.

    Attributes:
        batch: Batch normalization, or its estimated form.
        channel: The normalization of the groups.
    """

    def __init__(self, batch: nn.Module, channel: ChannelNorm) -> None:
        super().__init__()
        self.batch = batch
        self.channel = channel

    def forward(self, x: Tensor) -> Tensor:
        """Normalize over the batch, then within each sample."""
        y: Tensor = self.channel(self.batch(x))
        return y


def batch_channel_norm(channels: int, groups: int = GROUPS, affine: Affine = "group") -> nn.Module:
    """Return Batch-Channel Normalization of (N, C, H, W)."""
    return BatchChannelNorm(batch_norm(channels), ChannelNorm(channels, groups, affine))


def estimated_batch_channel_norm(
    channels: int, groups: int = GROUPS, affine: Affine = "group", rate: float = RATE
) -> nn.Module:
    """Return Batch-Channel Normalization for micro-batches: its batch statistics are running estimates."""
    return BatchChannelNorm(EstimatedBatchNorm(channels, rate), ChannelNorm(channels, groups, affine))
