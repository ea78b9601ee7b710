"""Squeeze-and-excite without the factor 2 that a scaled network needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.factors import block_factors
from sppkit.diagnosis.gain import trusted
from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Curves
    from sppkit.diagnosis.result import Diagnosis

# A gate is the sigmoid of a number near 0: 1/2, a quarter of the variance. Between that and 1 lies a half, in ratios;
# as far below lies an eighth, which is another fault.
_QUARTER, _HALFWAY = 0.25, 2.0
# The shortcut, which has no gate, must be sound: within the factor that gain.py allows.
_SOUND = 1.3


def find_missing_factor(curves: Curves) -> Diagnosis | None:
    """Find a scaled network with squeeze-and-excite whose branches are a quarter of what they should be.

    The branch factor is between 1/8 and 1/2, halfway in ratios to the neighbours of 1/4, and the shortcuts are sound.
    """
    factors = block_factors(curves)
    if factors is None or not curves.network.se:
        return None
    # Averaging shortcuts leave later stages a variance at which an activation's gain is another one.
    branch = trusted(curves, factors, factors.branch) if curves.network.averaging else factors.branch
    with np.errstate(invalid="ignore"):
        known = np.flatnonzero(branch > 0)
    shortcuts = factors.shortcut[np.isfinite(factors.shortcut)]
    if not len(known) or (len(shortcuts) and not 1 / _SOUND < np.median(shortcuts) < _SOUND):
        return None
    found = float(np.median(factors.branch[known]))
    if not _QUARTER / _HALFWAY < found < _QUARTER * _HALFWAY:
        return None
    worst = int(known[np.argmin(factors.branch[known])])
    return diagnosed(
        curves,
        "missing-se-factor",
        "error",
        begins=0,
        worst=worst,
        statistic="residual_variance",
        limit=float(curves.branch[worst] / factors.branch[worst] * _QUARTER * _HALFWAY),
        fact=f"The branches have {found:.3g} of the variance that they should have, from {curves.at(0)} on, while "
        "the shortcuts are sound",
        cause="the squeeze-and-excite gate is a sigmoid near 1/2, which leaves a quarter of the variance, and nothing "
        "makes up for it",
        remedy="multiply the gate by 2, as NF-ResNets do (predicted 1.0)",
    )
