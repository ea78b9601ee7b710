"""How far the units of an activation are from elimination."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from sppkit.stats.moments import MOMENTS
from sppkit.stats.statistic import Statistic

if TYPE_CHECKING:
    from torch import Tensor

    from sppkit.stats.channel_moments import ChannelMoments

# A unit that is on for no more than this share of the data counts as eliminated: no publication gives a number.
# Phi(ELIMINATED) = 1e-3, with Phi the normal distribution function.
ELIMINATED = -3.090232306167813
# The distance is that of the unit at this quantile, not of the very nearest, which chance decides.
QUANTILE = 0.05
# Beyond it Phi is exactly 0 or 1 in float64; a channel without variance has no finite margin.
FARTHEST = 40.0


def elimination_distance(moments: ChannelMoments) -> Tensor:
    """Return the 5 % quantile of the units' margins, measured from elimination.

    The margin of a channel that enters an activation is d_c = m_c / s_c, its mean over its standard deviation: a
    Gaussian channel is on for the share Phi(d_c) of the data, and is eliminated at d_c <= -3.09, where that is 1e-3.
    The distance is positive if less than 5 % of the units are eliminated. Behind batch normalization d_c = beta_c /
    abs(gamma_c), whatever the weights are: 0 at initialization, and the distance 3.09. The idea is that of Qiao et al.
    2019 (arXiv:1911.09738); threshold, quantile and number are ours.

    Args:
        moments: Moments of C channels in front of an activation.

    Returns:
        Shape (). Margins end at ±40; a channel that is 0 everywhere is off, at -40.
    """
    deviation = moments.variance.sqrt()
    constant = torch.where(moments.mean > 0, FARTHEST, -FARTHEST)
    margins = torch.where(deviation == 0, constant, moments.mean / deviation).clamp(-FARTHEST, FARTHEST)
    # The smallest margin that at least 5 % of the channels do not pass: at or below it, 5 % are eliminated.
    nearest = torch.kthvalue(margins, math.ceil(QUANTILE * len(margins))).values
    return torch.where(margins.isnan().any(), torch.nan, nearest - ELIMINATED)


ELIMINATION_DISTANCE = Statistic(MOMENTS, elimination_distance, over_layers="smallest")
