"""Units that all started alike: they get one gradient, and stay one unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Curves
    from sppkit.diagnosis.result import Diagnosis

_EQUAL = "equal_channels"
# Of fewer channels, that they are equal may be meant: a gray picture's three.
_SEVERAL = 4


def find_equal_units(curves: Curves) -> Diagnosis | None:
    """Find networks in which all channels are one, at most of their rows."""
    if curves.network.known or not curves.network.initial or _EQUAL not in curves.table:
        return None
    several = curves.channels[curves.judged] >= _SEVERAL
    equal = several & (curves.seed_mean(_EQUAL)[curves.judged] == 1)
    if not equal.any() or 2 * equal.sum() <= several.sum():
        return None
    first = int(np.argmax(equal))
    return diagnosed(
        curves,
        "equal-units",
        "error",
        begins=first,
        worst=first,
        statistic=_EQUAL,
        limit=1.0,
        fact=f"All channels are equal from {curves.at(first)} on, at {equal.sum()} of {several.sum()} {curves.unit}s",
        cause="their weights started alike, so that they get one gradient and stay alike: a constant initialization",
        remedy="draw the weights at random (torch.nn.init.kaiming_normal_)",
    )
