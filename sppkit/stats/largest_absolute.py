"""The largest value of a signal, by its absolute: what a number format has to hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sppkit.stats.doubles import double
from sppkit.stats.statistic import Reduction, Statistic

if TYPE_CHECKING:
    from torch import Tensor


def largest_absolute(x: Tensor) -> Tensor:
    """Return max |x| over all values.

    Args:
        x: Any shape with values, any floating type.

    Returns:
        Shape (), float64, on the signal's device (for MPS: on the CPU); nan where one value is.
    """
    return double(x.detach().abs().amax())


LARGEST_ABSOLUTE = Statistic(Reduction(largest_absolute, torch.maximum), lambda kept: kept)
