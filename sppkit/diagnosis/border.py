"""The sag that zero padding leaves at the borders of small maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.factors import block_factors, kept_by_filter, kept_taps

if TYPE_CHECKING:
    from sppkit.diagnosis.evidence import Evidence, Floats
    from sppkit.diagnosis.result import Diagnosis

# Seeds and finite maps move a stage's mean by a few per cent; below nine tenths it is a sag.
_SAGS = 0.9


def find_border_sag(evidence: Evidence) -> Diagnosis | None:
    """Find a zero-padded network whose residual variance sags below 0.9 on small maps, as padding explains.

    Freed of the taps that padding removes and of what earlier blocks lost, every stage's branches keep their variance
    (at least 0.9 of it): what is missing is missing at the border.

    Args:
        evidence: The curves and what is known of the network.

    Returns:
        A remark, or None.
    """
    healthy = evidence.network.expected_residual
    if not evidence.network.zero_padding or healthy is None:
        return None
    means = _stage_means(evidence, evidence.branch) / healthy
    sagging = np.flatnonzero(means < _SAGS)
    if not len(sagging):
        return None
    factors = block_factors(evidence)
    freed = evidence.branch / kept_taps(evidence) if factors is None else factors.branch
    kept = _stage_means(evidence, freed)
    if (kept[np.isfinite(kept)] < _SAGS * healthy).any():
        return None
    worst = int(np.nanargmin(evidence.branch))
    lowest = int(np.nanargmin(means))
    size = "x".join(f"{side:.0f}" for side in evidence.map_sizes[:, worst])
    return evidence.diagnosis(
        "border-sag",
        "remark",
        begins=int(np.flatnonzero(evidence.starts)[sagging[0]]),
        worst=worst,
        statistic="residual_variance",
        limit=_SAGS * healthy,
        fact=f"The residual variance sags from stage {_stage(evidence, int(sagging[0]))} on, to a mean of "
        f"{means[lowest] * healthy:.3g} in stage {_stage(evidence, lowest)}, where {healthy:.3g} is expected without "
        "borders",
        cause=f"zero padding takes taps away at the borders of small maps, {_lost(evidence, worst)} of a 3x3 "
        f"convolution's on {size}; it is no fault of the network",
        remedy="a larger --image-size lessens it, and --padding circular removes it",
    )


def _stage_means(evidence: Evidence, values: Floats) -> Floats:
    """Return the mean over each stage's blocks, those without a value left out; nan for a stage without any."""
    parts = np.split(values, np.flatnonzero(evidence.starts)[1:])
    means = [float(np.mean(known)) if len(known := part[np.isfinite(part)]) else np.nan for part in parts]
    return np.array(means)


def _stage(evidence: Evidence, index: int) -> str:
    return str(evidence.residual["stage"].iloc[int(np.flatnonzero(evidence.starts)[index])])


def _lost(evidence: Evidence, place: int) -> str:
    return f"{1 - kept_by_filter(evidence.map_sizes[:, place]):.0%}"
