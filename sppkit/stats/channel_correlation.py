"""How alike the channels of a signal are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import torch

from sppkit.stats.doubles import iter_doubles
from sppkit.stats.statistic import Reduction, Statistic

if TYPE_CHECKING:
    from torch import Tensor

# A deviation that is no more than this share of the mean is what rounding leaves of a constant: 64 times float64's.
CONSTANT = 64 * torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class CoMoments:
    """Sums of products of deviations, for every pair of channels: 8 C² bytes.

    Attributes:
        count: Values per channel.
        mean: Shape (C,), float64.
        products: Sum over all positions of (x_i - mean_i) (x_j - mean_j), shape (C, C), float64.
    """

    count: int
    mean: Tensor
    products: Tensor


def co_moments(x: Tensor) -> CoMoments:
    """Reduce a signal to the co-moments of its channels.

    Args:
        x: Shape (N, C, *space), any floating type.

    Returns:
        The co-moments, on the signal's device (for MPS: on the CPU).
    """
    return reduce(merge_co_moments, map(_co_moments_of, iter_doubles(x)))


def merge_co_moments(a: CoMoments, b: CoMoments) -> CoMoments:
    """Return the co-moments of the union of two sets of values, exactly (Chan, Golub & LeVeque 1979).

    Args:
        a: Co-moments of the first set.
        b: Co-moments of the second set, same number of channels.

    Returns:
        Co-moments of both.
    """
    count = a.count + b.count
    delta = b.mean - a.mean
    products = torch.addr(a.products + b.products, delta, delta, alpha=a.count * b.count / count)
    return CoMoments(count, a.mean + delta * (b.count / count), products)


def _co_moments_of(x: Tensor) -> CoMoments:
    rows = x.transpose(0, 1).flatten(1)
    mean = rows.mean(1)
    deviations = rows - mean[:, None]
    return CoMoments(rows.shape[1], mean, deviations @ deviations.T)


def channel_correlation(moments: CoMoments) -> Tensor:
    """Return the mean over pairs of channels of the absolute value of their correlation.

    The independent-component layer is made to lower it: dropout of rate q after batch normalization multiplies every
    correlation by 1 - q (Chen et al. 2019, arXiv:1905.05928). Channels that have nothing to do with each
    other still show about √(2 / (π n)) over n independent positions.

    Args:
        moments: Co-moments of C channels.

    Returns:
        Shape (), from 0 to 1, over the pairs of which both vary; 0 where there is none.
    """
    squares = moments.products.diagonal()
    # nan is no constant.
    varies = ~(squares <= CONSTANT**2 * moments.count * moments.mean.square())
    inverse = torch.where(varies, squares.rsqrt(), 0.0)
    correlations = (moments.products * inverse[:, None] * inverse).abs().clamp(max=1.0)
    pairs = varies.sum() * (varies.sum() - 1)
    return (correlations.sum() - correlations.diagonal().sum()) / pairs.clamp(min=1)


CHANNEL_CORRELATION = Statistic(Reduction(co_moments, merge_co_moments), channel_correlation)
