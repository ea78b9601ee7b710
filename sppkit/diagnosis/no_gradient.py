"""Layers that no gradient reaches: what stands behind them learns from what they pass on by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Curves
    from sppkit.diagnosis.result import Diagnosis

_GRADIENT = "gradient_second_moment"
# What reaches the end through layers that stay as they were drawn. Of small networks that were trained
# (benchmarks/trainability), those with 6 % learnt, slowly; those with 2 % and less did not.
_TOO_LITTLE = 0.03


def find_no_gradient(curves: Curves) -> Diagnosis | None:
    """Find where the gradient is exactly 0 from the first row on, and little of that is left at the end."""
    if curves.network.known or not curves.network.initial or _GRADIENT not in curves.table:
        return None
    gradient = curves.seed_mean(_GRADIENT)[curves.judged]
    reached = np.flatnonzero(~(gradient == 0))
    if len(gradient) < 2 or not len(reached) or reached[0] == 0 or not curves.variance[-1] > 0:
        return None
    last = int(reached[0]) - 1
    share = float(curves.variance[-1] / (curves.variance[-1] + curves.mean[-1]))
    if not share < _TOO_LITTLE:
        return None
    return diagnosed(
        curves,
        "no-gradient",
        "error",
        begins=0,
        worst=last,
        statistic=_GRADIENT,
        limit=0.0,
        fact=f"No gradient reaches {curves.at(last)} or what comes before: of the signal at the end "
        f"{share:.2g} tells inputs apart, and these {curves.unit}s can't change that",
        cause="they are detached, frozen, or run without gradients",
        remedy="let them learn, or load weights that have",
    )
