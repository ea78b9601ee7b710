"""A variance that does not reset where a stage begins."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.factors import Factors, block_factors
from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Array, Curves
    from sppkit.diagnosis.result import Diagnosis

# A transition's variance scatters by 4 % on narrow networks and small maps (measured); where a stage has built up less
# than 25 %, a missing reset can't be told from the scatter.
_BUILT_UP = 1.25
# Where the branch is not known apart from the shortcut, one transition may be high for a reason of its own.
_MOST = 0.5
# A hypothesis about a network's scale fits if it explains three to five quarters of what is seen.
_FIT = 0.25

_RAW = (
    "the shortcut of a stage's first block hands on its input at the scale that it has, instead of projecting the "
    "normalized (or beta-scaled) one"
)
_OTHER = "the stage has a scale of its own, larger than that of the one before it"
_PROJECT = "let the shortcut's convolution start after the first normalizer or activation, where the branch starts"
_UNDIVIDED = "nothing divides a block's input by beta, its expected standard deviation: branch and shortcut follow it"
_DIVIDE = "scale the first activation of every block by 1/beta"


def find_no_reset(curves: Curves) -> Diagnosis | None:
    """Find the first transition whose variance goes on from where the stage before it ended.

    The first block of a stage projects its shortcut from a normalized input, so that its output starts about where the
    stage before it started (Brock et al. 2021, section 3), instead of one block's growth above where that one ended.
    What is halfway between, in ratios, decides; where the branch's part is known, the shortcut's is judged, by two
    thirds of the way.
    """
    network = curves.network
    # The mean that uncentred weights hand on is no scale of the shortcut's.
    shifts = network.scaled and not network.centred
    if block_factors(curves) is not None or network.unscaled or network.unit_weights or curves.appending or shifts:
        return None
    return _diagnose(curves, _generic_limits(curves))


def find_wrong_reset(curves: Curves) -> Diagnosis | None:
    """Find a scaled network whose variance or whose beta does not reset, from what single blocks do.

    The shortcut's variance is 1 with a reset, and its input's, beta² times as much, without one; halfway between, in
    ratios, decides. A beta that is not reset shows in the branches alone.
    """
    factors = block_factors(curves)
    if factors is None:
        return None
    undivided = _fits(factors.branch, factors.beta_squared)
    found = _diagnose(curves, _scaled_limits(curves, factors), undivided=undivided)
    # Only where the activation does the same to every variance does a branch tell what it was divided by.
    return found if found or not curves.network.homogeneous else _find_growing_beta(curves, factors)


def _diagnose(curves: Curves, limits: Array, *, undivided: bool = False) -> Diagnosis | None:
    with np.errstate(invalid="ignore"):
        kept = np.flatnonzero(curves.variance > limits)
    if not len(kept):
        return None
    begins = int(kept[0])
    worst = int(kept[np.argmax((curves.variance / limits)[kept])])
    return diagnosed(
        curves,
        "no-reset",
        "error" if curves.network.known else "remark",
        begins=begins,
        worst=worst,
        statistic="channel_variance",
        limit=float(limits[worst]),
        fact=f"The variance does not reset at {curves.at(begins)}: it starts stage "
        f"{_stage(curves, begins)} at {curves.variance[begins]:.3g}, not below {limits[begins]:.3g}, and the "
        f"stage before it ended at {curves.before[begins]:.3g}",
        certain=undivided or not curves.network.known,
        cause=_UNDIVIDED if undivided else _RAW if curves.network.known else f"{_RAW}; or {_OTHER}",
        remedy=_DIVIDE if undivided else _PROJECT,
    )


def _scaled_limits(curves: Curves, factors: Factors) -> Array:
    # Between f = 1 and f = beta² lies f = beta; the branch's share of the output has no part in it.
    beta = np.sqrt(factors.beta_squared)
    with np.errstate(invalid="ignore", divide="ignore"):
        halfway = curves.variance * beta / factors.shortcut
    return np.where((factors.beta_squared > _BUILT_UP) & np.isfinite(halfway), halfway, np.nan)


def _generic_limits(curves: Curves) -> Array:
    """Return for each transition the variance halfway between with and without a reset; nan elsewhere."""
    variance, scale = curves.variance, curves.network.branch_scale
    if scale is not None and np.isfinite(curves.branch).all():
        return _shortcut_limits(curves, scale * curves.branch)
    limits, firsts = np.full(len(variance), np.nan), np.flatnonzero(curves.starts)
    for first, following in itertools.pairwise(firsts):
        start, end, blocks = variance[first], variance[following - 1], following - first
        without = end + (end - start) / max(1, blocks - 1)
        if start > 0 and without > _BUILT_UP * start:
            limits[following] = (start * without) ** 0.5
    with np.errstate(invalid="ignore"):
        high = (variance > limits).sum() > _MOST * np.isfinite(limits).sum()
        # With a scale of 1, which is the usual one, the branch may explain it all: a block whose shortcut and branch
        # are both normalized starts with 2, after a first stage that started with less.
        explained = variance <= _shortcut_limits(curves, curves.branch)
    return np.where(high & ~explained, limits, np.nan)


def _shortcut_limits(curves: Curves, added: Array) -> Array:
    """Return the limits where the branch's part is known: the shortcut's alone, two thirds of the way to no reset."""
    firsts = np.flatnonzero(curves.starts)
    limits = np.full(len(added), np.nan)
    for first, following in itertools.pairwise(firsts):
        # Shortcut and branch of a projecting block start alike; the larger one, since both scatter on narrow networks.
        start = max(curves.variance[first] - added[first], added[first])
        end = curves.variance[following - 1]
        if 0 < start < end / _BUILT_UP and curves.variance[following] > added[following]:
            limits[following] = (start * end * end) ** (1 / 3) + added[following]
    return limits


def _find_growing_beta(curves: Curves, factors: Factors) -> Diagnosis | None:
    # The variance resets, since transitions divide by what they are told; the blocks after divide by too much.
    network, count = curves.network, len(curves.variance)
    # After a transition beta² falls back to 1 + alpha²; gone on, it is 1 + alpha² times all blocks before.
    gone_on = 1 + min(abs(network.alpha), 1e100) ** 2 * np.arange(count)
    hypothesis = factors.beta_squared / gone_on
    if not _fits(factors.branch, hypothesis):
        return None
    telling = np.flatnonzero((hypothesis < 1 / _BUILT_UP) & (factors.branch > 0))
    worst, begins = int(telling[np.argmin(factors.branch[telling])]), int(telling[0])
    return diagnosed(
        curves,
        "no-reset",
        "error",
        begins=begins,
        worst=worst,
        statistic="residual_variance",
        limit=float(curves.branch[worst] / factors.branch[worst] * hypothesis[worst] ** 0.5),
        fact=f"The residual variance falls to {curves.branch[worst]:.3g} at block {curves.number(worst)}, from "
        f"{curves.at(begins)} on: the variance resets at each stage, and what the branch divides by does not",
        cause=f"beta² goes on growing by alpha² per block, to {gone_on[worst]:.3g} where "
        f"{factors.beta_squared[worst]:.3g} would be right",
        remedy="reset the expected variance to 1 + alpha² after each block that projects its shortcut",
    )


def _fits(branch: Array, hypothesis: Array) -> bool:
    """Return whether a hypothesis about the branch factors fits, where it is far enough from the healthy 1 to tell."""
    with np.errstate(invalid="ignore", divide="ignore"):
        telling = (np.abs(np.log(hypothesis)) > np.log(_BUILT_UP)) & (branch > 0)
    if not telling.any():
        return False
    # On the way from 1 (at 0) to the hypothesis (at 1), in logarithms; the middle block speaks for all.
    return bool(abs(np.median(np.log(branch[telling]) / np.log(hypothesis[telling])) - 1) < _FIT)


def _stage(curves: Curves, place: int) -> str:
    return str(curves.stages[curves.judged[place]])
