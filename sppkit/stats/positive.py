"""How often every channel is positive: what the dead and the always-on fraction are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sppkit.stats.statistic import Reduction

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PositiveCounts:
    """Counts of every channel of the signal seen so far.

    Attributes:
        count: Values per channel.
        positive: How many of them are larger than 0, shape (C,), int64.
        nan: Whether one of all values was nan, which is neither; shape (), bool.
    """

    count: int
    positive: Tensor
    nan: Tensor

    def share(self, channels: Tensor) -> Tensor:
        """Return the share of channels that are chosen.

        Args:
            channels: Which are, shape (C,), bool.

        Returns:
            Shape (), float64; nan where a value was nan.
        """
        return torch.where(self.nan, torch.nan, channels.double().mean())


def count_positive(x: Tensor) -> PositiveCounts:
    """Count a signal's positive values.

    Args:
        x: Shape (N, C, *space), any floating type.

    Returns:
        The counts, on the signal's device (for MPS, which has no float64 to divide them in: on the CPU).
    """
    flat = x.detach().reshape(x.shape[0], x.shape[1], -1)
    positive, nan = (flat > 0).sum((0, 2)), torch.isnan(flat).any()
    if x.device.type == "mps":
        positive, nan = positive.cpu(), nan.cpu()
    return PositiveCounts(flat.shape[0] * flat.shape[2], positive, nan)


def merge_counts(a: PositiveCounts, b: PositiveCounts) -> PositiveCounts:
    """Return the counts of the union of two sets of values.

    Args:
        a: Counts of the first set.
        b: Counts of the second set, same number of channels.

    Returns:
        Counts of both.
    """
    return PositiveCounts(a.count + b.count, a.positive + b.positive, a.nan | b.nan)


POSITIVE = Reduction(count_positive, merge_counts)
