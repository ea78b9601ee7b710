"""How much of a channel's variance lies between the samples: their style."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import torch

from sppkit.stats.doubles import iter_doubles
from sppkit.stats.statistic import Reduction, Statistic

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class InstanceMoments:
    """Every channel's squared deviations, told apart into those between samples and those within them.

    Attributes:
        count: Values per channel.
        mean: Shape (C,), float64.
        between: Sum over all values of (mean of their sample - mean)², shape (C,), float64.
        within: Sum over all values of (value - mean of their sample)², shape (C,), float64.
    """

    count: int
    mean: Tensor
    between: Tensor
    within: Tensor


def instance_moments(x: Tensor) -> InstanceMoments:
    """Reduce a signal to the moments between and within its samples.

    Args:
        x: Shape (N, C, *space), any floating type.

    Returns:
        The moments, on the signal's device (for MPS: on the CPU).
    """
    return reduce(merge_instances, map(_moments_of, iter_doubles(x)))


def merge_instances(a: InstanceMoments, b: InstanceMoments) -> InstanceMoments:
    """Return the moments of the union of two sets of samples, exactly (Chan, Golub & LeVeque 1979).

    Args:
        a: Moments of the first set.
        b: Moments of the second set, same number of channels; its maps may have another size.

    Returns:
        Moments of both.
    """
    count = a.count + b.count
    delta = b.mean - a.mean
    between = a.between + b.between + delta.square() * (a.count * b.count / count)
    return InstanceMoments(count, a.mean + delta * (b.count / count), between, a.within + b.within)


def _moments_of(x: Tensor) -> InstanceMoments:
    samples, _, length = x.shape
    within, means = torch.var_mean(x, dim=2, correction=0)
    between, mean = torch.var_mean(means, dim=0, correction=0)
    return InstanceMoments(samples * length, mean, between * samples * length, within.sum(0) * length)


def instance_style_share(moments: InstanceMoments) -> Tensor:
    """Return the mean over channels of the variance between samples as a share of all variance.

    Var_n(m_nc) / v_c, with m_nc the mean of channel c of sample n over space and v_c the channel's variance. It is 0
    after instance normalization and for a single sample, and 1 on maps of a single position.

    Args:
        moments: Moments of C channels.

    Returns:
        Shape (), from 0 to 1; a channel without variance counts as 0.
    """
    total = moments.between + moments.within
    return torch.where(total == 0, total, moments.between / total).mean()


INSTANCE_STYLE_SHARE = Statistic(Reduction(instance_moments, merge_instances), instance_style_share)
