"""The likely cause of the first bad block, in words: read from which statistics moved there, and by what factor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sppkit.curves.healthy_variance import HEALTHY_VARIANCE
from sppkit.curves.laws import addition, branch_level, mean_floor, starts
from sppkit.curves.match_blocks import match_sites
from sppkit.diagnosis.nonfinite import explain_loss

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sppkit.curves.curves import Array, Curves

# Factors closer than this are one: seeds and small maps move a branch by so much.
_NEAR = 0.12
_ALIKE = 0.02
# A statistic that moved by less did not move; nor did one that moved by less than so many standard errors.
_SAME, _DEVIATIONS = 0.12, 2.5
# Squared means of less than this share of the variance are no shift.
_SHIFT = 0.12
_DEAD = 1e-9


class _Factor(NamedTuple):
    """What a factor on the residual variance speaks of."""

    factor: float
    words: str


@dataclass(frozen=True)
class _Place:
    """What is seen at the first bad block, as ratios to what is expected there; nan where nothing is."""

    variance: float
    branch: float
    added: float
    law: float
    unreset: float
    share: float
    expected_share: float
    is_start: bool
    block: int
    same: float


def explain(curves: Curves, base: Curves | None, place: int, statistic: str) -> str:
    """Return the likely cause of what is seen at a block.

    Args:
        curves: The run that is judged.
        base: The baseline's, or None.
        place: The block's index among the curves' rows.
        statistic: The statistic or law that showed it.

    Returns:
        Words; empty where nothing fits.
    """
    if statistic == "nonfinite" or curves.nonfinite[:, place].any():
        return explain_loss(curves, curves.names[place], is_stem=bool(curves.blocks[place] == 0))[0]
    if base is None and curves.network.stored:
        return "eval mode subtracts and divides by running statistics, which are not this signal's"
    seen = _look(curves, base, place)
    if seen.block == 0:
        return _explain_stem(curves, base, place)
    return next(_iter_causes(seen, curves, statistic), "")


def _explain_stem(curves: Curves, base: Curves | None, at: int) -> str:
    shares = [_share(side, place) for side, place in _sides(curves, base, at)]
    if len(shares) == 2 and shares[0] < shares[1] / 3:
        return "the stem's mean is gone: its max-pool is missing or another one"
    return "the stem changed: its pooling, its weights' scale, or the input"


def _iter_causes(seen: _Place, curves: Curves, statistic: str) -> Iterator[str]:
    if seen.branch < _DEAD:
        yield "the branch is dead: its last gain or weight is 0, or an activation lets nothing through"
    branch_moved = abs(_log(seen.branch)) > seen.same
    if not branch_moved and (abs(_log(seen.law)) > _SAME or _is_scaled(seen)):
        yield from _iter_addition_causes(seen)
    yield from _iter_mean_causes(seen, curves)
    if not branch_moved:
        yield from _iter_addition_causes(seen)
    else:
        words = " or ".join(_nearest(list(_iter_factors(curves, seen)), seen)) or _suspects(curves)
        yield f"the branch is {seen.branch:.3g} times what it should be: {words}"
    if statistic in {"growth", "reset"}:
        yield "the variance builds up over stages: transitions do not reset it, or a normalizer is missing"
    if statistic in {"channel_squared_mean", "mean_shift"}:
        yield f"the mean shifts: {_suspects(curves)}"


def _is_scaled(seen: _Place) -> bool:
    # Where the law of addition is not known: a branch that counts for more brings its mean along, a bias brings more.
    return math.isnan(seen.law) and seen.expected_share < seen.share < seen.expected_share * seen.added


def _nearest(factors: Sequence[_Factor], seen: _Place) -> list[str]:
    # Two causes with one factor can't be told apart, and both are named.
    distances = {item.words: abs(_log(seen.branch) - math.log(item.factor)) for item in reversed(factors)}
    best = min(distances.values())
    return [words for words, distance in distances.items() if distance < min(max(_NEAR, seen.same), best + _ALIKE)]


def _iter_mean_causes(seen: _Place, curves: Curves) -> Iterator[str]:
    appeared = seen.share > _SHIFT and seen.share > 3 * seen.expected_share
    more = seen.share > _SHIFT and seen.share > 1.5 * seen.expected_share
    branch_moved = abs(_log(seen.branch)) > seen.same
    vanished = seen.expected_share > _SHIFT and seen.share < seen.expected_share / 3
    if appeared and curves.normalized:
        yield (
            "the mean shifts: the normalizer stands before the activation instead of behind it, or is missing, or a "
            "bias is not 0"
        )
    elif appeared:
        yield (
            "the mean shifts: weights are not centred (a plain convolution in place of a standardized one), or a bias "
            "is not 0"
        )
    elif more and branch_moved and curves.normalized:
        yield "mean and branch shift together: its normalizer is missing, or uses stored statistics (eval mode)"
    elif more and not branch_moved:
        yield "the mean shifts and the branch does not: a bias is not 0, or a normalizer is missing"
    elif vanished:
        yield (
            "the mean is gone: the normalizer stands behind the activation instead of before it (BatchNorm and ReLU "
            "swapped), weights are centred, or the activation is missing"
        )


def _iter_addition_causes(seen: _Place) -> Iterator[str]:
    if seen.is_start and seen.block > 1 and abs(_log(seen.unreset)) < _SAME < abs(_log(seen.variance)):
        yield "the variance does not reset: the transition's shortcut is not projected from the normalized input"
    elif seen.is_start and seen.variance > 1:
        yield "the block adds up to more: alpha or the skip gain is wrong, or its shortcut is scaled"
    elif seen.is_start:
        yield (
            "the block adds up to less: its shortcut is missing or another activation's, or its branch is scaled twice "
            "or dropped (stochastic depth)"
        )
    elif math.isfinite(seen.added) and seen.added < _SAME:
        yield (
            "the variance does not add up: the branch is not added (a skip gain of 0, stochastic depth), or the skip "
            "is missing or reads the wrong tensor"
        )
    elif math.isfinite(seen.added) and seen.added < 1:
        yield (
            f"the branch is sound, and the addition takes {seen.added:.2g} of its variance: scaled twice by alpha, "
            "dropped by stochastic depth, or the skip reads the wrong tensor"
        )
    elif math.isfinite(seen.added):
        yield (
            f"the branch is sound, and the addition takes {seen.added:.2g} times its variance: alpha or the skip gain "
            "is wrong, or the skip reads the wrong tensor"
        )


def _iter_factors(curves: Curves, seen: _Place) -> Iterator[_Factor]:
    passed = HEALTHY_VARIANCE.get(curves.network.activation or "relu", HEALTHY_VARIANCE["relu"])
    yield _Factor(2.0, "weights scaled by sqrt(2), as by another initialization gain")
    yield _Factor(0.5, "weights scaled by 1/sqrt(2), as by another initialization gain")
    if curves.network.se:
        yield _Factor(0.25, "squeeze-and-excite without its factor 2")
        yield _Factor(4.0, "squeeze-and-excite with its factor 2 twice")
    else:
        yield _Factor(0.25, "a factor 1/2, as of a gate, or fan-out in place of fan-in")
        yield _Factor(4.0, "a factor 2, or fan-in in place of fan-out")
    if not curves.network.scaled:
        return
    for count in (1, 2, 3):
        times = "in every convolution" if count == 3 else ("once", "twice")[count - 1]
        yield _Factor(passed**count, f"the activation's gain is missing {times}")
        yield _Factor(passed**-count, f"the activation's gain is applied once too often, {times}")
    yield from _iter_betas(curves, seen)


def _iter_betas(curves: Curves, seen: _Place) -> Iterator[_Factor]:
    alpha = curves.network.alpha
    if seen.is_start:
        return
    places = np.flatnonzero(starts(curves) & (curves.blocks <= seen.block))
    behind = seen.block - int(curves.blocks[places[-1]])
    beta = 1 + behind * alpha**2
    for other in (behind - 1, behind + 1):
        yield _Factor(beta / (1 + max(0, other) * alpha**2), "beta is off by one block")


def _suspects(curves: Curves) -> str:
    if curves.normalized:
        return (
            "its normalizer is missing, stands elsewhere or uses stored statistics (eval mode), or its weights' scale"
        )
    if curves.network.scaled:
        return "its gain, beta, activation or the scale of its weights"
    return (
        "its normalizer is missing or uses stored statistics (eval mode), its activation or gain is another, or its "
        "weights' scale"
    )


def _look(curves: Curves, base: Curves | None, at: int) -> _Place:
    sides = _sides(curves, base, at)
    ratios = {name: _ratio([_mean(side.values(name)[:, place]) for side, place in sides]) for name in _RATIOS}
    # Where a healthy branch follows from the block's input, what happened before this block is no fault of its own.
    levels = [_mean(branch_level(side)[:, place]) for side, place in sides]
    if base is None:
        ratios = {"residual_variance": levels[0], "channel_variance": _mean(addition(curves)[:, at])}
    elif all(map(math.isfinite, levels)):
        ratios["residual_variance"] = _ratio(levels)
    return _Place(
        variance=ratios["channel_variance"],
        branch=ratios["residual_variance"],
        added=_ratio([_added(side, place) for side, place in sides]),
        law=_mean(addition(curves)[:, at]),
        unreset=_unreset(curves, at),
        share=_share(curves, at),
        expected_share=_share(*sides[1]) if len(sides) > 1 else _healthy_share(curves),
        is_start=bool(starts(curves)[at]),
        block=int(curves.blocks[at]),
        same=max(_SAME, _DEVIATIONS * float(curves.spread("residual_variance")[at]) * (2 / len(curves.seeds)) ** 0.5),
    )


_RATIOS = ("channel_variance", "residual_variance")


def _sides(curves: Curves, base: Curves | None, at: int) -> Sequence[tuple[Curves, int]]:
    if base is None:
        return [(curves, at)]
    sites = [list(zip(side.names, map(float, side.channels), strict=True)) for side in (curves, base)]
    partner = dict(match_sites(*sites).pairs).get(at)
    return [(curves, at)] if partner is None else [(curves, at), (base, partner)]


def _added(curves: Curves, at: int) -> float:
    """Return (v_k - v_(k-1)) / r_k: what share of its variance the addition takes of the branch."""
    variance, branch = curves.values("channel_variance"), curves.values("residual_variance")
    return float(np.mean(variance[:, at] - variance[:, max(0, at - 1)]) / max(float(np.mean(branch[:, at])), 1e-30))


def _unreset(curves: Curves, at: int) -> float:
    """Return v_k / (v_(k-1) + s² r_k) of a transition: 1 where it goes on instead of starting afresh."""
    variance, branch = curves.values("channel_variance"), curves.values("residual_variance")
    scale = 1.0 if curves.network.branch_scale is None else curves.network.branch_scale
    return _ratio([_mean(variance[:, at]), _mean(variance[:, max(0, at - 1)] + scale * branch[:, at])])


def _share(curves: Curves, at: int) -> float:
    mean, variance = curves.values("channel_squared_mean")[:, at], curves.values("channel_variance")[:, at]
    share = float(np.mean(mean) / max(float(np.mean(variance)), 1e-30))
    return max(0.0, share - (float(mean_floor(curves)[at]) if curves.blocks[at] else 0.0))


def _healthy_share(curves: Curves) -> float:
    return 0.47 if curves.network.arch == "bn-relu-conv" else 0.02


def _mean(values: Array) -> float:
    return float(np.mean(values))


def _ratio(pair: Sequence[float]) -> float:
    return pair[0] / pair[1] if len(pair) == 2 and pair[1] > 0 else math.nan


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else 0.0
