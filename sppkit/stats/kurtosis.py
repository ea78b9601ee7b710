"""How far a signal's size is carried by a few of its values: outliers, which low precision can't hold with the rest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from sppkit.stats.doubles import iter_doubles
from sppkit.stats.statistic import Reduction, Statistic

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EvenMoments:
    """Sums of a signal's powers.

    Attributes:
        count: How many values.
        second: Sum of x², shape (), float64.
        fourth: Sum of x⁴, shape (), float64.
    """

    count: int
    second: Tensor
    fourth: Tensor


def even_moments(x: Tensor) -> EvenMoments:
    """Reduce a signal to the sums of its second and fourth powers.

    Args:
        x: Shape (N, C, *space), any floating type.

    Returns:
        The sums, on the signal's device (for MPS: on the CPU).
    """
    return reduce(merge_moments, map(_moments_of, iter_doubles(x)))


def merge_moments(a: EvenMoments, b: EvenMoments) -> EvenMoments:
    """Return the sums over the union of two sets of values.

    Args:
        a: Sums of the first set.
        b: Sums of the second set.

    Returns:
        Sums of both.
    """
    return EvenMoments(a.count + b.count, a.second + b.second, a.fourth + b.fourth)


def _moments_of(x: Tensor) -> EvenMoments:
    squares = x.square()
    return EvenMoments(x.numel(), squares.sum(), squares.square().sum())


def kurtosis(moments: EvenMoments) -> Tensor:
    """Return E x⁴ / (E x²)², about zero and over all values.

    It is 3 for a Gaussian signal of mean zero whose channels are equally large, 1 where all values have one size, and
    1/p where a share p of them carries all of it.

    Args:
        moments: Sums of a signal's powers.

    Returns:
        Shape (), at least 1; nan for a signal of zeros.
    """
    return moments.count * moments.fourth / moments.second.square()


KURTOSIS = Statistic(Reduction(even_moments, merge_moments), kurtosis)
