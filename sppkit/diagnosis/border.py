"""The sag that zero padding leaves at the borders of small maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.factors import block_factors, kept_by_filter, kept_taps
from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Array, Curves
    from sppkit.diagnosis.result import Diagnosis

# Seeds and finite maps move a stage's mean by a few per cent; below nine tenths it is a sag.
_SAGS = 0.9


def find_border_sag(curves: Curves) -> Diagnosis | None:
    """Find a zero-padded network whose residual variance sags below 0.9 on small maps, as padding explains.

    Freed of the taps that padding removes and of what earlier blocks lost, every stage's branches keep their variance
    (at least 0.9 of it): what is missing is missing at the border.
    """
    healthy = curves.network.expected_residual
    if not curves.network.zero_padding or healthy is None:
        return None
    means = _stage_means(curves, curves.branch) / healthy
    sagging = np.flatnonzero(means < _SAGS)
    if not len(sagging):
        return None
    factors = block_factors(curves)
    freed = curves.branch / kept_taps(curves) if factors is None else factors.branch
    kept = _stage_means(curves, freed)
    if (kept[np.isfinite(kept)] < _SAGS * healthy).any():
        return None
    worst = int(np.nanargmin(curves.branch))
    lowest = int(np.nanargmin(means))
    size = "x".join(f"{side:.0f}" for side in curves.map_sizes[:, worst])
    return diagnosed(
        curves,
        "border-sag",
        "remark",
        begins=int(np.flatnonzero(curves.starts)[sagging[0]]),
        worst=worst,
        statistic="residual_variance",
        limit=_SAGS * healthy,
        fact=f"The residual variance sags {_from(curves, int(sagging[0]), lowest)}to {means[lowest] * healthy:.3g} in "
        f"stage {_stage(curves, lowest)}: zero padding (without it {healthy:.3g})",
        cause=f"zero padding takes taps away at the borders of small maps, {_lost(curves, worst)} of a 3x3 "
        f"convolution's on {size}; it is no fault of the network",
        remedy="a larger --image-size lessens it, and --padding circular removes it",
    )


def _stage_means(curves: Curves, values: Array) -> Array:
    """Return the mean over each stage's blocks, those without a value left out; nan for a stage without any."""
    parts = np.split(values, np.flatnonzero(curves.starts)[1:])
    means = [float(np.mean(known)) if len(known := part[np.isfinite(part)]) else np.nan for part in parts]
    return np.array(means)


def _stage(curves: Curves, index: int) -> str:
    return str(curves.stages[curves.judged[np.flatnonzero(curves.starts)[index]]])


def _from(curves: Curves, first: int, lowest: int) -> str:
    return "" if first == lowest else f"from stage {_stage(curves, first)} on, "


def _lost(curves: Curves, place: int) -> str:
    return f"{1 - kept_by_filter(curves.map_sizes[:, place]):.0%}"
