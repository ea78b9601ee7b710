"""The share of values in the flat part of a bounded activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sppkit.stats.statistic import Reduction, Statistic

if TYPE_CHECKING:
    from torch import Tensor

# A unit there sends back less than a twentieth of what it would at its steepest: |x| > 2.18 for tanh, where 3 % of a
# standard normal are, and |x| > 4.36 for sigmoid. No publication gives a number.
FLAT = 0.05


@dataclass(frozen=True)
class FlatCounts:
    """Counts of the slopes seen so far, each of shape ().

    Attributes:
        count: How many.
        flat: How many of them are flat.
        nan: Whether one of them was nan.
    """

    count: int
    flat: Tensor
    nan: Tensor


def count_flat(slopes: Tensor) -> FlatCounts:
    """Count the flat slopes.

    Args:
        slopes: |f'| at each value over the largest |f'|, any shape.

    Returns:
        The counts, on the slopes' device (for MPS, which has no float64 to divide them in: on the CPU).
    """
    flat, nan = (slopes < FLAT).sum(), slopes.isnan().any()
    if slopes.device.type == "mps":
        flat, nan = flat.cpu(), nan.cpu()
    return FlatCounts(slopes.numel(), flat, nan)


def merge_flat(a: FlatCounts, b: FlatCounts) -> FlatCounts:
    """Return the counts of both."""
    return FlatCounts(a.count + b.count, a.flat + b.flat, a.nan | b.nan)


def saturated_fraction(counts: FlatCounts) -> Tensor:
    """Return the share of values at which a bounded activation is flat: its slope is below 5 % of its largest.

    Glorot & Bengio 2010 (AISTATS, section 3) see sigmoid networks that stop to learn where a layer is saturated.

    Args:
        counts: Counts of the slopes.

    Returns:
        Shape (), float64; nan where a slope was nan.
    """
    return torch.where(counts.nan, torch.nan, counts.flat.double() / counts.count)


SATURATED_FRACTION = Statistic(Reduction(count_flat, merge_flat), saturated_fraction)
