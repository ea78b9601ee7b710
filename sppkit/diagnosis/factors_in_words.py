"""What a factor on a branch's variance speaks of, where its mean grew by no more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sppkit.curves.laws import starts
from sppkit.diagnosis.left_open import may_attend, may_pad
from sppkit.registry import activation_facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.diagnosis.expectation import Comparison

# Var relu(z), z ~ N(0,1): 1/2 - 1/(2 pi).
_RELU = 0.340845
# Factors this close, as logarithms, are one: narrow networks and small maps move a branch by as much.
_NEAR = 0.12
# Two causes whose factors are as close as this, as logarithms, can't be told apart, and both are named.
_ALIKE = 0.02


class _Factor(NamedTuple):
    factor: float
    words: str


def name_factor(seen: Comparison, row: int) -> str:
    """Return what multiplies a branch's variance by the factor that is seen."""
    factor = float(seen.branch_factor[row])
    if not factor > 0:
        return "its last gain or weight is 0"
    words = _nearest(list(_iter_factors(seen, row)), factor, min(_NEAR, float(seen.same[row])))
    anything = _anything(seen, row, factor)
    return " or ".join(words) + f"; or else {anything}" if words else anything


def _nearest(factors: list[_Factor], factor: float, near: float) -> list[str]:
    distances = {item.words: abs(math.log(factor / item.factor)) for item in reversed(factors)}
    best = min(distances.values())
    return [words for words, distance in distances.items() if distance < min(near, best + _ALIKE)]


def _anything(seen: Comparison, row: int, factor: float) -> str:
    network = seen.curves.network
    if network.normalized or not network.known:
        around = ", its padding" if may_pad(seen, row, factor) else ""
        around += ", attention's scale or mask" if may_attend(seen, row) else ""
        gain = f"a gain, a normalizer's weight, a bias{around} or its activation is another"
        return f"its normalizer is missing or uses stored statistics (eval mode), or the scale of its weights, {gain}"
    if network.scaled:
        return "its gain, beta, activation, a bias or the scale of its weights is another"
    return "its activation, a bias, a gain or the scale of its weights is another"


def _iter_factors(seen: Comparison, row: int) -> Iterator[_Factor]:
    network = seen.curves.network
    yield _Factor(2.0, f"a factor 2: {_ROOT} by sqrt(2), as by another initialization gain")
    yield _Factor(0.5, f"a factor 1/2: {_ROOT} by 1/sqrt(2), as by another initialization gain")
    if network.se:
        yield _Factor(0.25, "squeeze-and-excite without its factor 2")
        yield _Factor(4.0, "squeeze-and-excite with its factor 2 twice")
    else:
        yield _Factor(0.25, "a factor 1/4: the signal is halved, as by a gate, or fan-out in place of fan-in")
        yield _Factor(
            4.0, "a factor 4: the signal is doubled, as by a gain (a factor 2), or fan-in in place of fan-out"
        )
    if not network.scaled:
        return
    passed = activation_facts(network.activation or "relu").variance or _RELU
    for count in (1, 2, 3):
        times = "in every convolution" if count == 3 else ("once", "twice")[count - 1]
        yield _Factor(passed**count, f"the activation's gain is missing {times}")
        yield _Factor(passed**-count, f"the activation's gain is applied once too often, {times}")
    yield from _iter_betas(seen, row)


_ROOT = "weights, a gain or a normalizer's weight scaled"


def _iter_betas(seen: Comparison, row: int) -> Iterator[_Factor]:
    curves, first = seen.curves, starts(seen.curves)
    if first[row]:
        return
    squared = curves.network.alpha**2
    after = int(curves.blocks[row] - curves.blocks[np.flatnonzero(first[: row + 1])[-1]])
    for other in (after - 1, after + 1):
        yield _Factor((1 + after * squared) / (1 + max(0, other) * squared), "beta is off by one block")
