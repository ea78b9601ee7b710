"""The statistical difference between the channels that a normalizer receives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sppkit.stats.moments import MOMENTS
from sppkit.stats.statistic import Statistic

if TYPE_CHECKING:
    from torch import Tensor

    from sppkit.stats.channel_moments import ChannelMoments


def stat_diff(moments: ChannelMoments) -> Tensor:
    """Return how far the means of the channels lie apart, in units of a channel's standard deviation.

    StatDiff = √(E_c[m_c²] - E_c[m_c]²) / E_c[s_c], with mean m_c and standard deviation s_c of each channel (Qiao et
    al. 2019, arXiv:1903.10520v2). Normalization of single samples keeps it, up to the means of its groups; batch
    normalization takes it away. The publication takes each group of the normalizer for itself; here all channels are
    one group, so that any two normalizers can be compared.

    Args:
        moments: Moments of C channels.

    Returns:
        Shape (); 0 where all means are the same, inf where they are not and no channel varies.
    """
    spread = torch.var(moments.mean, correction=0).sqrt()
    return torch.where(spread == 0, spread, spread / moments.variance.sqrt().mean())


STAT_DIFF = Statistic(MOMENTS, stat_diff)
