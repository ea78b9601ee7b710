"""How far the weights around a layer's units are from being balanced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from sppkit.stats.statistic import Reduction, Statistic

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class WeightNorms:
    """Sums of squares of one weight, in float64.

    Attributes:
        rows: Of each unit that it writes, shape (out,).
        columns: Of each unit that it reads, shape (in,); those of a normalizer's scale are the rows.
    """

    rows: Tensor
    columns: Tensor


@dataclass(frozen=True)
class JunctionNorms:
    """The weights around the units of one layer, or of one residual stream.

    Attributes:
        writers: Norms of the weights that write the units.
        readers: Norms of those that read them; of several inputs per unit (after a flattened map) they are added.
    """

    writers: tuple[WeightNorms, ...]
    readers: tuple[WeightNorms, ...]


def weight_norms(weight: Tensor) -> WeightNorms:
    """Reduce a weight to the sums of squares of its rows and columns.

    Args:
        weight: Shape (out, in, *kernel), or (C,) for a normalizer's scale.

    Returns:
        The sums, on the weight's device (for MPS: on the CPU).
    """
    weight = weight.detach()
    squares = (weight.cpu() if weight.device.type == "mps" else weight).double().square()
    if squares.ndim == 1:
        return WeightNorms(squares, squares)
    matrix = squares.flatten(2).sum(2) if squares.ndim > 2 else squares
    return WeightNorms(matrix.sum(1), matrix.sum(0))


def _latest(_before: WeightNorms, now: WeightNorms) -> WeightNorms:
    return now


def enorm_gap(junction: JunctionNorms) -> Tensor:
    """Return by what share the weights around some units are larger than they have to be.

    With l_i and r_i the norms of all weights that write and read unit i, their sum of squares is Σ (l_i² + r_i²). A
    factor d_i where the unit is written and 1/d_i where it is read leaves what a network with ReLU computes as it is
    (Stock et al. 2019, arXiv:1902.10416), and makes the sum at least 2 Σ l_i r_i. The gap is the ratio of the two,
    less 1: 0 where all units are balanced, and nowhere else.

    Args:
        junction: Norms of the weights around the units.

    Returns:
        Shape (); units that nothing writes or nothing reads are left out, and without any other it is 0.
    """
    written = torch.stack([norms.rows for norms in junction.writers]).sum(0)
    read = torch.stack([norms.columns.view(len(written), -1).sum(1) for norms in junction.readers]).sum(0)
    alive = (written != 0) & (read != 0)  # true of nan, which is not dropped
    # (l² + r²) / (2 l r) - 1 as (l - r)² / (2 l r), which rounding leaves at 0.
    excess = torch.where(alive, (written.sqrt() - read.sqrt()).square(), 0.0).sum()
    least = torch.where(alive, 2 * (written * read).sqrt(), 0.0).sum()
    return torch.where(alive.any(), excess / least, 0.0)


ENORM_GAP: Statistic[Any] = Statistic(Reduction(weight_norms, _latest), enorm_gap)
