"""Statistics of the gradient with respect to a block's output, and of what comes back through a block's branch.

Letters: g the gradient with respect to a signal of C channels with n values each, mean_c and m2_c its channel moments,
so that E g² = mean over channels of (mean_c² + m2_c / n).

The second moment with a white N(0, 1) cotangent at the end is the squared Frobenius norm of the Jacobian from the block
to the end, per value of the block: the partial Jacobian norm of Doshi, He & Gromov 2023 (arXiv:2111.12143).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from sppkit.stats.spp import MOMENTS, channel_squared_mean, channel_variance
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
    """Sums of squares over one or more batches, each of shape (), float64.

    Attributes:
        through_branch: Of the gradient that the branch adds at the block's input.
        at_output: Of the gradient at the block's output.
    """

    through_branch: Tensor
    at_output: Tensor


def reduce_branch(pair: tuple[Tensor, Tensor]) -> BranchGradient:
    """Reduce the gradients at a block's input and output, joined by an identity, to two sums of squares.

    Args:
        pair: The gradient at the input and that at the output, of one shape. Over an identity skip connection the
            output's gradient comes back unchanged, and what is left of the input's came through the branch.

    Returns:
        The sums.
    """
    # MPS has no float64.
    host = "cpu" if pair[0].device.type == "mps" else pair[0].device
    before, after = (item.detach().to(host).double() for item in pair)
    return BranchGradient((before - after).square().sum(), after.square().sum())


def merge_branch(a: BranchGradient, b: BranchGradient) -> BranchGradient:
    """Return the sums over both."""
    return BranchGradient(a.through_branch + b.through_branch, a.at_output + b.at_output)


def branch_share(kept: BranchGradient) -> Tensor:
    """Return the second moment of what comes back through the branch over that of the gradient at the output.

    Args:
        kept: The sums of squares.

    Returns:
        Shape (), float64; nan where no gradient reaches the block's output.
    """
    return torch.where(kept.at_output > 0, kept.through_branch / kept.at_output, torch.nan)


GRADIENT_SECOND_MOMENT = Statistic(MOMENTS, second_moment)
GRADIENT_SQUARED_MEAN = Statistic(MOMENTS, channel_squared_mean)
BRANCH_GRADIENT_SHARE: Statistic[BranchGradient] = Statistic(Reduction(reduce_branch, merge_branch), branch_share)
