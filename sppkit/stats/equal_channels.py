"""Units that are all one: their weights started alike, and get one gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sppkit.stats.moments import MOMENTS
from sppkit.stats.statistic import Statistic

if TYPE_CHECKING:
    from torch import Tensor

    from sppkit.stats.channel_moments import ChannelMoments

# Sums of the same numbers in another order differ by less in float32; two channels of different weights by more.
_DIGITS = 1e-5


def equal_channels(moments: ChannelMoments) -> Tensor:
    """Return the share of channels that have the mean and the variance of another channel, to five digits.

    Channels without variance (of dead units, say) are not counted, neither here nor there.

    Args:
        moments: Moments of C channels.

    Returns:
        Shape (), from 0 to 1; 0 with fewer than two channels that vary.
    """
    order = torch.argsort(moments.m2)
    variance, mean = moments.m2[order] / moments.count, moments.mean[order]
    # A mean is known as well as the deviation and the mean itself allow.
    size = variance[1:].sqrt() + mean[1:].abs()
    equal = (variance[1:] > 0) & (variance.diff() <= _DIGITS * variance[1:]) & (mean.diff().abs() <= _DIGITS * size)
    none = torch.zeros_like(equal[:1])
    alike = torch.cat((none, equal)) | torch.cat((equal, none))
    alive = (variance > 0).sum()
    # nan and infinity are never dropped.
    return alike.sum() / alive.clamp(min=1) + 0 * (variance.sum() + mean.sum())


EQUAL_CHANNELS = Statistic(MOMENTS, equal_channels)
