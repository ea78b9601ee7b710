"""Outputs so large that no usual step of an optimizer matters beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Curves
    from sppkit.diagnosis.result import Diagnosis

# Second moment of what a network returns. Of small ones that were trained (benchmarks/trainability, the kinds for
# fitting) the loudest that learnt with any setting in 120 steps had 1.9e6; those next above, 2.7e6, did not.
_LOUDEST = 2e6


def find_loud_output(curves: Curves) -> Diagnosis | None:
    """Find an output whose second moment is above two million: of a network without joins, its last row."""
    network, variance = curves.network, curves.variance
    if network.known or not network.initial or not len(variance) or not np.isfinite(variance[-1]):
        return None
    last = len(variance) - 1
    common = float(np.nan_to_num(curves.mean[-1]))  # a table may hold no means
    at_row = float(variance[-1]) + common if curves.layered else 0.0
    total = max(at_row, 0.0 if curves.output is None else curves.output.second_moment)
    if not total > _LOUDEST:
        return None
    after = total > at_row
    return diagnosed(
        curves,
        "loud-output",
        "error",
        begins=last,
        worst=last,
        statistic="channel_variance" if after or variance[-1] >= common else "channel_squared_mean",
        limit=_LOUDEST if after else _LOUDEST * max(float(variance[-1]), common) / total,
        found=total if after else None,
        fact=f"The values {'that the network returns' if after else 'at the end'} are of size {total**0.5:.3g}: taken "
        "for logits, a cross-entropy begins at about as much",
        cause=f"what comes after {curves.at(last)} multiplies them"
        if after and float(variance[-1]) + common < _LOUDEST
        else "the layers before it pass on more than they receive, or its own weights are too large",
        remedy="draw the last layer's weights of variance 1/fan_in or less, and those before it of 1/(fan_in E f²)",
    )
