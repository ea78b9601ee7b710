"""What the numbers of a row leave open beside its weights: its padding, its pooling, attention, the branch's factor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sppkit.diagnosis.expectation import Comparison

# Zeros beyond the map take from a variance what its border lacks of the taps: of the largest kernels in use, 7 x 7, as
# much as this of one side; more than half on the smallest maps. What is moved by more, padding did not move.
_TAPS_LOST, _PADDED = 12 / 7, 2.0
# Of so many convolutions in a branch.
_CONVOLUTIONS = 3
# A branch may go along with the skip or against it: a variance that moves by so many times less than its factor says,
# and a mean that moves by the factor's square.
_SPARE, _SQUARE = 3.0, 2.0


def may_pad(seen: Comparison, row: int, factor: float) -> bool:
    """Return whether other padding may move a variance by a factor: in pictures, and not by much."""
    curves = seen.curves
    side = float(curves.rows[["height", "width"]].astype("float64").min(axis=1, skipna=False)[row])
    if curves.network.known or not side > 1 or not 0 < factor < math.inf:
        return False
    border = 1 - _TAPS_LOST / max(side, 2 * _TAPS_LOST)
    most = border ** (-2 if curves.layered else -2 * _CONVOLUTIONS)
    return abs(math.log(factor)) < math.log(min(_PADDED, most))


def may_pool(seen: Comparison, row: int) -> bool:
    """Return whether a layer may be a pool: its map is smaller than that of the layer before, and its width is not."""
    curves = seen.curves
    if row == 0 or not curves.layered:
        return False
    return bool(curves.positions[row] < curves.positions[row - 1] and curves.channels[row] == curves.channels[row - 1])


def may_attend(seen: Comparison, row: int) -> bool:
    """Return whether a branch may be an attention: of tokens, in a network that nobody described."""
    curves = seen.curves
    return not curves.network.known and not curves.layered and bool(curves.rows["width"].isna()[row])


def may_scale(seen: Comparison, row: int) -> bool:
    """Return whether a branch added with another factor may move the mean so, and the variance by no more.

    A factor f on the branch's variance r moves the sum's by about (f - 1) r. So the variance says between which f it
    may be, and the mean moves by no more than f: an attention that has a mean and hardly any variance moves freely, a
    branch that is half of the sum's variance does not.
    """
    if seen.curves.layered or not seen.branch[row] > 0:
        return False
    changed = abs(math.log(seen.variance_factor[row]))
    allowed = _SPARE * changed + seen.apart_before if seen.begins else float(seen.same[row])
    reach = allowed * seen.variance[row] / seen.branch[row]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = seen.mean[row] / seen.expected_mean[row]
    return bool(max(0.0, 1 - reach) ** _SQUARE <= ratio <= (1 + reach) ** _SQUARE) and reach > 0


def takes_along(seen: Comparison, row: int) -> bool:
    """Return whether a branch's factor may move the mean so: by no more than itself, if it is the branch's."""
    factor = float(seen.branch_factor[row])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = seen.mean[row] / seen.expected_mean[row]
    near = 1 + seen.same[row]
    return bool(min(1.0, factor) / near <= ratio <= max(1.0, factor) * near)
