"""A residual branch that adds nothing to its output, or nearly all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sppkit.diagnosis.evidence import Evidence, Flags, Floats
    from sppkit.diagnosis.result import Diagnosis

# A branch that adds less than a millionth of the variance, a thousandth of the size, is lost: a million of them would
# be needed to double it. Healthy ones add 1/(k + 1/alpha²): a percent at the end of 50 blocks with alpha 0.2.
_DEAD = 1e-6
# A branch of nine times the shortcut's variance: the block forgets its input. In a healthy network the largest share
# is a half, at a transition with alpha 1.
_DOMINANT = 0.9


def find_dead_branch(evidence: Evidence) -> Diagnosis | None:
    """Find blocks whose branch adds less than a millionth of their output's variance.

    Args:
        evidence: The curves and what is known of the network.

    Returns:
        The diagnosis, or None.
    """
    # Where the branch's scale is unknown, it counts as 1, but for an output that is the input.
    scaled = _added(evidence) if evidence.network.branch_scale is not None else evidence.branch
    added = np.where(_unchanged(evidence), 0.0, scaled)
    with np.errstate(invalid="ignore"):
        dead = np.flatnonzero((added <= _DEAD * evidence.variance) & np.isfinite(evidence.branch))
    if not len(dead):
        return None
    begins = int(dead[0])
    worst = int(dead[np.argmin(evidence.branch[dead])])
    cause, remedy = _explain_dead(evidence, worst)
    total = int(np.isfinite(evidence.branch).sum())
    which = _branches(evidence, dead, total, "dead")
    return evidence.diagnosis(
        "dead-branch",
        "warning",
        begins=begins,
        worst=worst,
        statistic="residual_variance",
        limit=float(_DEAD * evidence.variance[worst]),
        found=float(added[worst]),
        fact=f"{which}: it adds {added[worst]:.3g} to a variance of {evidence.variance[worst]:.3g}",
        cause=cause,
        remedy=remedy,
    )


def find_dominant_branch(evidence: Evidence, *, few: bool) -> Diagnosis | None:
    """Find blocks whose branch is more than nine tenths of their output's variance.

    In a block without projection the branch's share is what the variance grew by; where the scale of the branch is
    known, it is also that scale times the residual variance.

    Args:
        evidence: The curves and what is known of the network.
        few: Look only for a fault of some blocks (True), which would explain what comes behind, or only for one that
            half of the blocks or more have (False), which may itself follow from an exploding variance.

    Returns:
        The diagnosis, or None.
    """
    added, variance = _added(evidence), evidence.variance
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.fmax(np.where(_identity(evidence), 1 - evidence.before / variance, np.nan), added / variance)
        dominant = np.flatnonzero((share > _DOMINANT) & (evidence.branch > 0))
    if not len(dominant) or few != (2 * len(dominant) < np.isfinite(share).sum()):
        return None
    begins, worst = int(dominant[0]), int(dominant[np.argmax(share[dominant])])
    # A correlated branch can be larger than the sum.
    told = f"{min(share[worst], 1.0):.1%}" if share[worst] < 0.9995 else "all"
    return evidence.diagnosis(
        "dominant-branch",
        "warning",
        begins=begins,
        worst=worst,
        statistic="residual_variance",
        found=float(share[worst] * variance[worst]),
        limit=float(_DOMINANT * variance[worst]),
        fact=f"{_branches(evidence, dominant, int(np.isfinite(share).sum()), 'dominant')}: it makes {told} of the "
        f"variance of {variance[worst]:.3g} at block {evidence.number(worst)}",
        cause="the branch is over nine times as strong as its shortcut, so that the block forgets its input: its last "
        "weights (or their gain) are too large, or the shortcut too small",
        remedy="bring the last convolution of the branch to the scale of the other blocks', or scale the branch down "
        "(alpha, skip gain)",
    )


def _added(evidence: Evidence) -> Floats:
    """Return what each branch adds to the variance, nan where its scale is unknown."""
    scale = evidence.network.branch_scale
    return np.full_like(evidence.branch, np.nan) if scale is None else scale * evidence.branch


def _identity(evidence: Evidence) -> Flags:
    """Return whether each block's input has its output's shape, and is no stem's: then the shortcut may be plain."""
    sizes = evidence.residual[["channels", "height", "width"]].astype("float64").fillna(-1.0).to_numpy()
    same = np.zeros(len(sizes), dtype=bool)
    if len(sizes):
        same[1:] = (sizes[1:] == sizes[:-1]).all(axis=1)
    return same & ~evidence.starts


def _unchanged(evidence: Evidence) -> Flags:
    """Return whether each block's output is its input, to the last digit of mean and variance: x + 0 branch is x."""
    mean_before = np.concatenate(([np.nan], evidence.mean[:-1])) if len(evidence.mean) else evidence.mean
    same: Flags = _identity(evidence) & (evidence.variance == evidence.before) & (evidence.mean == mean_before)
    return same


def _branches(evidence: Evidence, found: NDArray[np.intp], total: int, what: str) -> str:
    first = evidence.at(int(found[0]))
    if len(found) == 1:
        return f"The branch of {first} is {what}"
    if len(found) == total:
        return f"The branch of every block is {what}"
    return f"{len(found)} of {total} branches are {what}, the first at {first}"


def _explain_dead(evidence: Evidence, worst: int) -> tuple[str, str]:
    network = evidence.network
    if evidence.branch[worst] > _DEAD * evidence.variance[worst]:
        given = "the skip gain is 0" if network.branch_scale == 0 else "a factor near 0 stands before the addition"
        return (
            f"the branch is alive, with a variance of {evidence.branch[worst]:.3g}, but {given}, as SkipInit starts it",
            "training can raise it; to see the branch at work measure with a skip gain of 1",
        )
    return (
        "its last layer is zero: an initialization that starts blocks as the identity (zero-init residual, Fixup), "
        "weights that died, or an activation that is 0 for inputs as small as these",
        "if it is meant so, give that layer its usual initialization to see the branch; if not, look at its weights",
    )
