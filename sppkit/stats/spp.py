"""The statistics of a Signal Propagation Plot (Brock, De & Smith 2021, arXiv:2101.08692, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.stats.moments import MOMENTS
from sppkit.stats.statistic import Statistic

if TYPE_CHECKING:
    from torch import Tensor

    from sppkit.stats.channel_moments import ChannelMoments


def channel_squared_mean(moments: ChannelMoments) -> Tensor | float:
    """Return the mean over channels of (mean over batch and space)².

    Args:
        moments: Moments of C channels.

    Returns:
        Shape (), float64.
    """
    mean = moments.mean_as_it_lies
    return mean.dot(mean) / len(mean)  # type: ignore[no-any-return]


def channel_variance(moments: ChannelMoments) -> Tensor | float:
    """Return the mean over channels of the variance over batch and space, dividing by n.

    Args:
        moments: Moments of C channels.

    Returns:
        Shape (), float64.
    """
    m2 = moments.m2_as_it_lies
    return m2.sum() / (moments.count * len(m2))  # type: ignore[no-any-return]


CHANNEL_SQUARED_MEAN = Statistic(MOMENTS, channel_squared_mean)
CHANNEL_VARIANCE = Statistic(MOMENTS, channel_variance)
