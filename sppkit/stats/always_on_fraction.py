"""The share of an activation's channels that are always positive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.stats.positive import POSITIVE, PositiveCounts
from sppkit.stats.statistic import Statistic

if TYPE_CHECKING:
    from torch import Tensor


def always_on_fraction(counts: PositiveCounts) -> Tensor:
    """Return the share of channels all of whose values are positive.

    Behind ReLU such a unit is linear on all of the data: the twin of a dead one, which the mean shift makes as well.

    Args:
        counts: Counts of C channels after an activation.

    Returns:
        Shape ().
    """
    return counts.share(counts.positive == counts.count)


ALWAYS_ON_FRACTION = Statistic(POSITIVE, always_on_fraction)
