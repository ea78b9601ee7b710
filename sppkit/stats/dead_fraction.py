"""The share of an activation's channels that are never positive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.stats.positive import POSITIVE, PositiveCounts
from sppkit.stats.statistic import Statistic

if TYPE_CHECKING:
    from torch import Tensor


def dead_fraction(counts: PositiveCounts) -> Tensor:
    """Return the share of channels without a single positive value.

    Behind ReLU such a unit is 0 for all of the data: neither its weights nor those that read it change the loss, which
    is the elimination singularity of Qiao et al. 2019 (arXiv:1911.09738).

    Args:
        counts: Counts of C channels after an activation.

    Returns:
        Shape ().
    """
    return counts.share(counts.positive == 0)


DEAD_FRACTION = Statistic(POSITIVE, dead_fraction)
