"""Outputs so large that no usual step of an optimizer matters beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Curves
    from sppkit.diagnosis.result import Diagnosis

# Second moment of what a network without skip connections returns. Of small ones that were trained
# (benchmarks/trainability, the kinds for fitting) the loudest that learnt had 9e5, in 400 steps; those next above,
# 4.7e6, did not. Between them, on a logarithmic scale.
_LOUDEST = 2e6


def find_loud_output(curves: Curves) -> Diagnosis | None:
    """Find a last row whose second moment is above two million."""
    network, variance, mean = curves.network, curves.variance, curves.mean
    if network.known or not network.initial or not len(variance) or not np.isfinite(variance[-1]):
        return None
    common = float(np.nan_to_num(mean[-1]))  # a table may hold no means
    total = float(variance[-1]) + common
    if not total > _LOUDEST:
        return None
    last, differs = len(variance) - 1, variance[-1] >= common
    return diagnosed(
        curves,
        "loud-output",
        "error",
        begins=last,
        worst=last,
        statistic="channel_variance" if differs else "channel_squared_mean",
        limit=_LOUDEST * (float(variance[-1]) if differs else common) / total,
        fact=f"The values at the end are of size {total**0.5:.3g}: taken for logits, a cross-entropy begins at about "
        "as much",
        cause="the layers before it pass on more than they receive, or its own weights are too large",
        remedy="draw the last layer's weights of variance 1/fan_in or less, and those before it of 1/(fan_in E f²)",
    )
