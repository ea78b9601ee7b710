"""A residual branch that adds nothing to its output, or nearly all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sppkit.curves.curves import Array, Curves, Flags
    from sppkit.diagnosis.result import Diagnosis

# A branch that adds less than a millionth of the variance, a thousandth of the size, is lost: a million of them would
# be needed to double it. Healthy ones add 1/(k + 1/alpha²): a percent at the end of 50 blocks with alpha 0.2.
_DEAD = 1e-6
# A branch of nine times the shortcut's variance: the block forgets its input. In a healthy network the largest share
# is a half, at a transition with alpha 1.
_DOMINANT = 0.9
# Nine tenths, as odds: a branch that many times as strong as most others dominates by itself, not for want of a stem.
_STRONG = 9.0
# Attention's branches may be a twentieth of their MLPs', and are half of all: most others are the upper quarter.
_MOST = 0.75
# Twenty times the size of a normalized signal: a branch of such a variance is loud, whatever the others are.
_LOUD = 400.0


def find_dead_branch(curves: Curves) -> Diagnosis | None:
    """Find blocks whose branch adds less than a millionth of their output's variance."""
    added = _added_or_nothing(curves)
    dead = _dead(curves)
    if not len(dead):
        return None
    begins = int(dead[0])
    worst = int(dead[np.argmin(curves.branch[dead])])
    total = int(np.isfinite(curves.branch).sum())
    cause, remedy = _explain_dead(curves, worst, many=2 * len(dead) >= total)
    alive = bool((curves.branch[dead] > _DEAD * curves.variance[dead]).all())
    meant = curves.network.initial and (2 * len(dead) >= total or alive)
    return diagnosed(
        curves,
        "dead-branch",
        "remark" if meant else "warning",
        begins=begins,
        worst=worst,
        statistic="residual_variance",
        limit=float(_DEAD * curves.variance[worst]),
        found=float(added[worst]),
        fact=_tell_added(curves, dead, total, float(added[worst]), worst),
        cause=cause,
        remedy=remedy,
    )


def adds_nothing(curves: Curves) -> bool:
    """Return whether no branch adds anything, as SkipInit and Fixup start."""
    telling = np.isfinite(curves.branch)
    dead = np.isin(np.arange(len(telling)), _dead(curves))
    if curves.network.branch_scale is None:
        telling &= dead | is_identity(curves)
    return bool(telling.any() and (dead | ~telling).all())


def _dead(curves: Curves) -> NDArray[np.intp]:
    with np.errstate(invalid="ignore"):
        nothing = _added_or_nothing(curves) <= _DEAD * curves.variance
    return np.flatnonzero(nothing & np.isfinite(curves.branch))


def _added_or_nothing(curves: Curves) -> Array:
    # Where the branch's scale is unknown, it counts as 1, but for an output that is the input.
    scaled = _added(curves) if curves.network.branch_scale is not None else curves.branch
    return np.where(_unchanged(curves), 0.0, scaled)


def find_dominant_branch(curves: Curves, *, few: bool) -> Diagnosis | None:
    """Find blocks whose branch is more than nine tenths of their output's variance.

    In a block without projection the branch's share is what the variance grew by; where the scale of the branch is
    known, it is also that scale times the residual variance. Where something works on the sum, neither tells.
    """
    if curves.network.post:
        return None
    added, variance = _added(curves), curves.variance
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.fmax(np.where(is_identity(curves), 1 - curves.before / variance, np.nan), added / variance)
        dominant = np.flatnonzero((share > _DOMINANT) & (curves.branch > 0))
    if not len(dominant) or few != (2 * len(dominant) < np.isfinite(share).sum()):
        return None
    begins, worst = int(dominant[0]), int(dominant[np.argmax(share[dominant])])
    # A correlated branch can be larger than the sum.
    told = f"{min(share[worst], 1.0):.1%}" if share[worst] < 0.9995 else "all"
    weak = few and not curves.network.known and not _stands_out(curves, dominant)
    cause, remedy = _explain_weak(curves, begins) if weak else _STRONG_BRANCH
    return diagnosed(
        curves,
        "dominant-branch",
        "remark" if weak else "warning",
        begins=begins,
        worst=worst,
        statistic="residual_variance",
        found=float(share[worst] * variance[worst]),
        limit=float(_DOMINANT * variance[worst]),
        fact=f"{_branches(curves, dominant, int(np.isfinite(share).sum()), 'dominant')}: it makes {told} of the "
        f"variance of {variance[worst]:.3g} at block {curves.number(worst)}",
        cause=cause,
        remedy=remedy,
        certain=weak,
    )


_STRONG_BRANCH = (
    "the branch is over nine times as strong as its shortcut, so that the block forgets its input: its last weights "
    "(or their gain) are too large, or the shortcut too small",
    "bring the branch's last layer to the scale of the other blocks', or scale the branch down",
)


def _explain_weak(curves: Curves, place: int) -> tuple[str, str]:
    before = f"{curves.before[place]:.3g}" if np.isfinite(curves.before[place]) else "less"
    return (
        f"the branch is no stronger than others, of a variance of {curves.branch[place]:.3g}; what comes before it has "
        f"{before}",
        "no fault where a normalizer stands before each branch; a larger signal before it, or smaller branches, keep "
        "more of the input",
    )


def _stands_out(curves: Curves, dominant: NDArray[np.intp]) -> bool:
    usual = float(np.nanquantile(curves.branch, _MOST, method="lower"))
    return bool((curves.branch[dominant] > min(_STRONG * usual, _LOUD)).any())


def _tell_added(curves: Curves, dead: NDArray[np.intp], total: int, added: float, worst: int) -> str:
    one = len(dead) in {1, total}
    which = _which(curves, dead, total)
    if curves.appending:
        return f"{which} {'has' if one else 'have'} new features of a variance of {added:.3g}"
    what = "nothing" if added == 0 else f"{added:.3g}"
    return f"{which} {'adds' if one else 'add'} {what} to a variance of {curves.variance[worst]:.3g}"


def _added(curves: Curves) -> Array:
    """Return what each branch adds to the variance, nan where its scale is unknown."""
    scale = curves.network.branch_scale
    return np.full_like(curves.branch, np.nan) if scale is None else scale * curves.branch


def is_identity(curves: Curves) -> Flags:
    """Return whether each block's input has its output's shape: then the shortcut may be plain.

    The first block of our own networks projects; that of others starts with what row 0 holds.
    """
    shape = ["channels", "height", "width"]
    every = curves.rows[shape].astype("float64").fillna(-1.0).to_numpy()
    sizes, stem = every[curves.judged], every[curves.blocks == 0]
    same = np.zeros(len(sizes), dtype=bool)
    if len(sizes):
        same[1:] = (sizes[1:] == sizes[:-1]).all(axis=1) & ~curves.starts[1:]
        same[0] = not curves.network.known and len(stem) == 1 and bool((sizes[0] == stem[0]).all())
    return same


def _unchanged(curves: Curves) -> Flags:
    """Return whether each block's output is its input, in mean and variance: x + 0 branch is x."""
    mean_before = np.concatenate(([curves.stem_mean], curves.mean[:-1])) if len(curves.mean) else curves.mean
    # A branch of a thousandth of the size that happened to leave both would have to be correlated with its input.
    least = _DEAD * curves.variance
    with np.errstate(invalid="ignore"):
        variance = np.abs(curves.variance - curves.before) <= least
        same: Flags = is_identity(curves) & variance & (np.abs(curves.mean - mean_before) <= least)
    return same


def _branches(curves: Curves, found: NDArray[np.intp], total: int, what: str) -> str:
    is_or_are = "is" if len(found) in {1, total} else "are"
    return f"{_which(curves, found, total)} {is_or_are} {what}"


def _which(curves: Curves, found: NDArray[np.intp], total: int) -> str:
    first = curves.at(int(found[0]))
    if len(found) == 1:
        return f"The branch of {first}"
    if len(found) == total:
        return "The branch of every block"
    return f"{len(found)} of {total} branches, the first at {first},"


def _explain_dead(curves: Curves, worst: int, *, many: bool) -> tuple[str, str]:
    network = curves.network
    if curves.branch[worst] > _DEAD * curves.variance[worst]:
        return _explain_alive(curves, worst)
    if network.silent and network.branch_scale != 0:
        return (
            "Fixup starts the last convolution of every branch at 0, so that blocks start as the identity",
            "training opens the branches; --skip-gain 1 shows them at work",
        )
    if many and network.initial:
        return (
            "the last layer starts at 0, so that blocks start as the identity: the last normalizer's weight (zero-init "
            "residual, Goyal et al. 2017) or the last weights (Fixup)",
            "training opens the branches; the usual initialization of that layer shows them at work",
        )
    return (
        "the branch is dead: its last layer is zero, by weights that died, were pruned or were left at a zero "
        "initialization, or its activation is 0 for inputs as small as these",
        "look at that layer's weights; where it is meant so, give it its usual initialization to see the branch",
    )


def _explain_alive(curves: Curves, worst: int) -> tuple[str, str]:
    network = curves.network
    alive = f"the branch itself is alive, with a variance of {curves.branch[worst]:.3g} at {curves.at(worst)}, but"
    if network.stochastic_depth and network.mode != "eval":
        return (
            f"{alive} stochastic depth has dropped it for every sample of the batch",
            "a larger --batch-size or --mode eval shows it",
        )
    if network.branch_scale == 0:
        return (
            f"{alive} the skip gain is 0, as SkipInit starts it",
            "training raises it; --skip-gain 1 shows the branch at work",
        )
    return (
        f"{alive} the factor before the addition is near 0 (LayerScale, SkipInit), or stochastic depth has dropped it "
        "for every sample",
        "training raises such a factor; start it at 1, or measure in eval mode, to see the branch at work",
    )
