"""The likely cause of the first bad block, in words: read from which statistics moved there, and by what factor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sppkit.curves.laws import addition, branch_level, mean_floor, starts
from sppkit.gate.against_baseline import match
from sppkit.record.read import number_at, text_at
from sppkit.registry import activation_facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sppkit.curves.signal import Array, Signal
    from sppkit.gate.verdict import Finding

# Factors closer than this are one: seeds and small maps move a branch by so much.
_NEAR = 0.12
_ALIKE = 0.02
# A statistic that moved by less did not move; nor did one that moved by less than so many standard errors.
_SAME, _DEVIATIONS = 0.12, 2.5
# Squared means of less than this share of the variance are no shift.
_SHIFT = 0.12
_DEAD = 1e-9
# float16 ends at 65504; a signal of this variance overflows by itself.
_LARGE = 1e8


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


def explain(first: Finding, signal: Signal, base: Signal | None) -> str:
    """Return the likely cause of a finding.

    Args:
        first: The finding at the first bad block.
        signal: The run that was judged.
        base: The baseline's, where there is one.

    Returns:
        Words; empty where nothing fits.
    """
    if first.cause or first.found is None:
        return first.cause
    if first.kind == "exact" or first.name not in signal.names:
        return ""
    at = signal.names.index(first.name)
    if first.statistic == "nonfinite" or signal.nonfinite[:, at].any():
        return _explain_overflow(signal, at)
    seen = _look(signal, base, at)
    if seen.block == 0:
        return _explain_stem(signal, base, at)
    return next(_iter_causes(seen, signal, first), "")


def _explain_overflow(signal: Signal, at: int) -> str:
    before = signal.values("channel_variance")[:, max(0, at - 1)]
    if at > 0 and np.nanmax(before, initial=0) > _LARGE:
        return "the variance grows from block to block until it overflows: a normalizer or a scale is missing"
    half = text_at(signal.record, "dtype") in {"float16", "bfloat16"}
    where = "inside this block" if at > 0 else "in the stem or the input"
    return f"an operation {where} overflows or divides by zero" + (
        f": {text_at(signal.record, 'dtype')} ends early" if half else ": a cast to half precision, or a wrong scale"
    )


def _explain_stem(signal: Signal, base: Signal | None, at: int) -> str:
    shares = [_share(side, place) for side, place in _sides(signal, base, at)]
    if len(shares) == 2 and shares[0] < shares[1] / 3:
        return "the stem's mean is gone: its max-pool is missing or another one"
    return "the stem changed: its pooling, its weights' scale, or the input"


def _iter_causes(seen: _Place, signal: Signal, first: Finding) -> Iterator[str]:
    if seen.branch < _DEAD:
        yield "the branch is dead: its last gain or weight is 0, or an activation lets nothing through"
    branch_moved = abs(_log(seen.branch)) > seen.same
    if not branch_moved and (abs(_log(seen.law)) > _SAME or _is_scaled(seen)):
        yield from _iter_addition_causes(seen)
    yield from _iter_mean_causes(seen, signal)
    if not branch_moved:
        yield from _iter_addition_causes(seen)
    else:
        words = " or ".join(_nearest(list(_iter_factors(signal, seen)), seen)) or _suspects(signal)
        yield f"the branch is {seen.branch:.3g} times what it should be: {words}"
    if first.statistic in {"growth", "reset"}:
        yield "the variance builds up over stages: transitions do not reset it, or a normalizer is missing"
    if first.statistic in {"channel_squared_mean", "mean_shift"}:
        yield f"the mean shifts: {_suspects(signal)}"


def _is_scaled(seen: _Place) -> bool:
    # Where the law of addition is not known: a branch that counts for more brings its mean along, a bias brings more.
    return math.isnan(seen.law) and seen.expected_share < seen.share < seen.expected_share * seen.added


def _nearest(factors: Sequence[_Factor], seen: _Place) -> list[str]:
    # Two causes with one factor can't be told apart, and both are named.
    distances = {item.words: abs(_log(seen.branch) - math.log(item.factor)) for item in reversed(factors)}
    best = min(distances.values())
    return [words for words, distance in distances.items() if distance < min(max(_NEAR, seen.same), best + _ALIKE)]


def _iter_mean_causes(seen: _Place, signal: Signal) -> Iterator[str]:
    appeared = seen.share > _SHIFT and seen.share > 3 * seen.expected_share
    more = seen.share > _SHIFT and seen.share > 1.5 * seen.expected_share
    branch_moved = abs(_log(seen.branch)) > seen.same
    vanished = seen.expected_share > _SHIFT and seen.share < seen.expected_share / 3
    if appeared and signal.normalized:
        yield (
            "the mean shifts: the normalizer stands before the activation instead of behind it, or is missing, or a "
            "bias is not 0"
        )
    elif appeared:
        yield (
            "the mean shifts: weights are not centred (a plain convolution in place of a standardized one), or a bias "
            "is not 0"
        )
    elif more and branch_moved and signal.normalized:
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


def _iter_factors(signal: Signal, seen: _Place) -> Iterator[_Factor]:
    yield _Factor(2.0, "weights scaled by sqrt(2), as by another initialization gain")
    yield _Factor(0.5, "weights scaled by 1/sqrt(2), as by another initialization gain")
    if signal.network.get("se") is True:
        yield _Factor(0.25, "squeeze-and-excite without its factor 2")
        yield _Factor(4.0, "squeeze-and-excite with its factor 2 twice")
    else:
        yield _Factor(0.25, "a factor 1/2, as of a gate, or fan-out in place of fan-in")
        yield _Factor(4.0, "a factor 2, or fan-in in place of fan-out")
    if signal.network.get("scaled") is not True:
        return
    passed = activation_facts(text_at(signal.network, "activation", "relu")).variance
    yield from () if passed is None else _iter_gains(passed)
    yield from _iter_betas(signal, seen)


def _iter_gains(passed: float) -> Iterator[_Factor]:
    for count in (1, 2, 3):
        times = "in every convolution" if count == 3 else ("once", "twice")[count - 1]
        yield _Factor(passed**count, f"the activation's gain is missing {times}")
        yield _Factor(passed**-count, f"the activation's gain is applied once too often, {times}")


def _iter_betas(signal: Signal, seen: _Place) -> Iterator[_Factor]:
    alpha = number_at(signal.network, "alpha")
    if alpha is None or seen.is_start:
        return
    places = np.flatnonzero(starts(signal) & (signal.blocks <= seen.block))
    behind = seen.block - int(signal.blocks[places[-1]])
    beta = 1 + behind * alpha**2
    for other in (behind - 1, behind + 1):
        yield _Factor(beta / (1 + max(0, other) * alpha**2), "beta is off by one block")


def _suspects(signal: Signal) -> str:
    if signal.normalized:
        return (
            "its normalizer is missing, stands elsewhere or uses stored statistics (eval mode), or its weights' scale"
        )
    if signal.network.get("scaled") is True:
        return "its gain, beta, activation or the scale of its weights"
    return (
        "its normalizer is missing or uses stored statistics (eval mode), its activation or gain is another, or its "
        "weights' scale"
    )


def _look(signal: Signal, base: Signal | None, at: int) -> _Place:
    sides = _sides(signal, base, at)
    ratios = {name: _ratio([_mean(side.values(name)[:, place]) for side, place in sides]) for name in _RATIOS}
    # Where a healthy branch follows from the block's input, what happened before this block is no fault of its own.
    levels = [_mean(branch_level(side)[:, place]) for side, place in sides]
    if base is None:
        ratios = {"residual_variance": levels[0], "channel_variance": _mean(addition(signal)[:, at])}
    elif all(map(math.isfinite, levels)):
        ratios["residual_variance"] = _ratio(levels)
    return _Place(
        variance=ratios["channel_variance"],
        branch=ratios["residual_variance"],
        added=_ratio([_added(side, place) for side, place in sides]),
        law=_mean(addition(signal)[:, at]),
        unreset=_unreset(signal, at),
        share=_share(signal, at),
        expected_share=_share(*sides[1]) if len(sides) > 1 else _healthy_share(signal),
        is_start=bool(starts(signal)[at]),
        block=int(signal.blocks[at]),
        same=max(_SAME, _DEVIATIONS * float(signal.spread("residual_variance")[at]) * (2 / len(signal.seeds)) ** 0.5),
    )


_RATIOS = ("channel_variance", "residual_variance")


def _sides(signal: Signal, base: Signal | None, at: int) -> Sequence[tuple[Signal, int]]:
    if base is None:
        return [(signal, at)]
    partner = dict(match(signal, base).pairs).get(at)
    return [(signal, at)] if partner is None else [(signal, at), (base, partner)]


def _added(signal: Signal, at: int) -> float:
    """Return (v_k - v_(k-1)) / r_k: what share of its variance the addition takes of the branch."""
    variance, branch = signal.values("channel_variance"), signal.values("residual_variance")
    return float(np.mean(variance[:, at] - variance[:, max(0, at - 1)]) / max(float(np.mean(branch[:, at])), 1e-30))


def _unreset(signal: Signal, at: int) -> float:
    """Return v_k / (v_(k-1) + s² r_k) of a transition: 1 where it goes on instead of starting afresh."""
    variance, branch = signal.values("channel_variance"), signal.values("residual_variance")
    scale = 1.0 if signal.branch_scale is None else signal.branch_scale
    return _ratio([_mean(variance[:, at]), _mean(variance[:, max(0, at - 1)] + scale**2 * branch[:, at])])


def _share(signal: Signal, at: int) -> float:
    mean, variance = signal.values("channel_squared_mean")[:, at], signal.values("channel_variance")[:, at]
    share = float(np.mean(mean) / max(float(np.mean(variance)), 1e-30))
    return max(0.0, share - (float(mean_floor(signal)[at]) if signal.blocks[at] else 0.0))


def _healthy_share(signal: Signal) -> float:
    return 0.47 if text_at(signal.record, "arch") == "bn-relu-conv" else 0.02


def _mean(values: Array) -> float:
    return float(np.mean(values))


def _ratio(pair: Sequence[float]) -> float:
    return pair[0] / pair[1] if len(pair) == 2 and pair[1] > 0 else math.nan


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else 0.0
