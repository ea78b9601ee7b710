"""Statistics of the gradient with respect to a block's output, and of what comes back through a block's branch.

Letters: g the gradient with respect to a signal of C channels with n values each, mean_c and m2_c its channel moments,
so that E g² = mean over channels of (mean_c² + m2_c / n).

The second moment with a white N(0, 1) cotangent at the end is the squared Frobenius norm of the Jacobian from the block
to the end, per value of the block: the partial Jacobian norm of Doshi, He & Gromov 2023 (arXiv:2111.12143).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from sppkit.stats.moments import MOMENTS, channel_moments, merge_moments
from sppkit.stats.spp import channel_squared_mean, channel_variance
from sppkit.stats.statistic import Reduction, Statistic

if TYPE_CHECKING:
    from sppkit.stats.channel_moments import ChannelMoments


def second_moment(moments: ChannelMoments) -> Tensor | float:
    """Return the mean over channels of the mean square over batch and space.

    Args:
        moments: Moments of C channels.

    Returns:
        Shape (), float64.
    """
    return channel_squared_mean(moments) + channel_variance(moments)


class BranchGradient(NamedTuple):
    """Moments of two gradients of one shape.

    Attributes:
        through_branch: Of the gradient that the branch adds at the block's input.
        at_output: Of the gradient at the block's output.
    """

    through_branch: ChannelMoments
    at_output: ChannelMoments


def reduce_branch(pair: tuple[Tensor, Tensor]) -> BranchGradient:
    """Reduce the gradients at a block's input and output, joined by an identity.

    Args:
        pair: The gradient at the input and that at the output, of one shape (N, C, *space). Over an identity skip
            connection the output's gradient comes back unchanged, and what is left of the input's came through the
            branch.

    Returns:
        The moments.
    """
    # The difference of two numbers of half precision may have none of their digits.
    before, after = (item.detach().float() if item.dtype.itemsize == 2 else item.detach() for item in pair)
    return BranchGradient(channel_moments(before - after), channel_moments(after))


def merge_branch(a: BranchGradient, b: BranchGradient) -> BranchGradient:
    """Return the moments over both."""
    return BranchGradient(*(merge_moments(first, second) for first, second in zip(a, b, strict=True)))


def branch_share(kept: BranchGradient) -> Tensor | float:
    """Return the second moment of what comes back through the branch over that of the gradient at the output.

    Args:
        kept: The moments.

    Returns:
        The share; nan where no gradient reaches the block's output, of which nothing is no share.
    """
    through_branch, at_output = map(second_moment, kept)
    return through_branch / at_output if isinstance(at_output, Tensor) or at_output else math.nan


GRADIENT_SECOND_MOMENT = Statistic(MOMENTS, second_moment)
GRADIENT_SQUARED_MEAN = Statistic(MOMENTS, channel_squared_mean)
BRANCH_GRADIENT_SHARE: Statistic[BranchGradient] = Statistic(Reduction(reduce_branch, merge_branch), branch_share)
