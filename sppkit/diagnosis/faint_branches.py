"""Branches that are alive and add next to nothing: the network starts as little more than its stem."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.branch import find_dead_branch, is_identity
from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Curves
    from sppkit.diagnosis.result import Diagnosis

# All blocks together add less than a twentieth of the variance: they could all be left out. A healthy NF-ResNet's
# stage of three blocks adds an eighth (alpha 0.2), the faintest trained one that was meant to be heard a third.
_LITTLE = 0.05
# The branch itself, before any scale, is faint as well: LayerScale's and SkipInit's are as strong as others.
_FAINT = 0.1
_SEVERAL = 3


def find_faint_branches(curves: Curves) -> Diagnosis | None:
    """Find where the blocks that keep their input's shape together raise the variance by less than a twentieth."""
    if curves.network.known or not curves.network.initial or find_dead_branch(curves) is not None:
        return None
    kept = is_identity(curves) & np.isfinite(curves.branch) & (curves.variance > 0) & (curves.before > 0)
    places = np.flatnonzero(kept)
    if len(places) < _SEVERAL:
        return None
    strength = curves.branch[places] / curves.variance[places]
    growth = np.abs(np.log(curves.variance[places] / curves.before[places])).sum()
    if growth >= np.log1p(_LITTLE) or strength.max() >= _FAINT:
        return None
    begins, worst = int(places[0]), int(places[np.argmin(strength)])
    return diagnosed(
        curves,
        "faint-branches",
        "warning",
        begins=begins,
        worst=worst,
        statistic="residual_variance",
        limit=float(_FAINT * curves.variance[worst]),
        fact=f"The branches are faint: {len(places)} blocks change the variance by {np.expm1(growth):.2g} of it, and "
        f"at {curves.at(worst)} the branch has {strength.min():.2g} of the variance that it is added to",
        cause="their weights are too small for their fan-in, or their scale is; no last layer starts at 0",
        remedy="draw their weights with variance 1/(fan_in E f²) (torch.nn.init.kaiming_normal_), or scale them up",
    )
