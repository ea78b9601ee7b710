"""Where curves leave the bounds of a healthy network: what needs no baseline and no theory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from sppkit.curves.chance import FALSE_ALARM, chance_of, estimate, t_against
from sppkit.curves.laws import QUANTITIES, mean_floor, measured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.curves.curves import Array, Curves
    from sppkit.diagnosis.limit import Bound, Level, Limit, Limits


@dataclass(frozen=True, kw_only=True)
class Excess:
    """One quantity at one block beyond its bound, and beyond chance.

    Attributes:
        quantity: The statistic or law that was judged.
        row: The block's index among the curves' rows.
        found: Geometric mean over seeds.
        limit: The bound, in the same units.
        expected: What a healthy network has there; None where there are bounds only.
        ratio: ``found`` over ``expected``, or over the limit where nothing is expected.
        level: ``error`` or ``warn``.
        chance: Probability that seeds alone do this anywhere in the network; None where chance plays no part.
        reason: Why the limit stands where it does.
        kind: ``policy`` for a bound, ``prediction`` for theory.
    """

    quantity: str
    row: int
    found: float
    limit: float
    expected: float | None
    ratio: float
    level: Level
    chance: float | None
    reason: str
    kind: Literal["policy", "prediction"] = "policy"

    @property
    def size(self) -> float:
        """How far off it is: |log ratio|, infinite where there is no ratio."""
        return abs(math.log(self.ratio)) if 0 < self.ratio < math.inf else math.inf


def iter_beyond(curves: Curves, limits: Limits) -> Iterator[Excess]:
    """Yield what passes a bound by more than chance."""
    yield from _iter_nonfinite(curves, limits)
    for quantity, several in limits.items():
        for limit in several:
            if limit.bounds():
                yield from _iter_beyond(curves, quantity, limit)


def first_of(excesses: list[Excess]) -> Excess | None:
    """Return the one at the first bad block, the largest of several there; warnings only where there is no error."""
    failing = [excess for excess in excesses if excess.level == "error"] or excesses
    return min(failing, key=lambda excess: (excess.row, -excess.size), default=None)


def is_absent(curves: Curves, quantity: str) -> bool:
    """Return whether these curves do not hold what a quantity takes."""
    found = measured(curves, quantity)
    return found is None or not np.isfinite(found.of(curves)).any()


def _iter_nonfinite(curves: Curves, limits: Limits) -> Iterator[Excess]:
    worst = curves.nonfinite.max(axis=0)
    for limit in limits.get("nonfinite", ()):
        for row in np.flatnonzero(worst > (math.inf if limit.max is None else limit.max)):
            if limit.covers(curves.names[row]):
                yield _excess("nonfinite", int(row), limit, limit.max or 0.0, float(worst[row]), None)


def _iter_beyond(curves: Curves, name: str, limit: Limit) -> Iterator[Excess]:
    quantity = None if name == "nonfinite" else measured(curves, name)
    if quantity is None:
        return
    found = estimate(quantity.of(curves), curves.stages, curves.spread(quantity.spread))
    # A signal without a finite value is the business of ``nonfinite``.
    judged = np.isfinite(found.log) & np.array([limit.covers(block) for block in curves.names], dtype=bool)
    judged &= ~curves.heads
    tests = max(1, int(judged.sum()))
    for kind, bound in limit.bounds():
        log = np.full(len(judged), math.log(max(bound, 1e-300)))
        t, freedom = t_against(found, log)
        beyond = (t > 0) if kind == "max" else (t < 0)
        for row in np.flatnonzero(judged & beyond):
            chance = chance_of(float(t[row]), freedom, tests)
            if chance < FALSE_ALARM:
                value, allowed = _shown(curves, name, int(row), kind, bound, found.values)
                yield _excess(name, int(row), limit, allowed, value, chance)


def _shown(curves: Curves, name: str, row: int, kind: Bound, bound: float, values: Array) -> tuple[float, float]:
    # The mean's share is judged above its floor, and shown as anyone would compute it.
    floor = float(mean_floor(curves, independent=True)[row]) if name == "mean_shift" and kind == "max" else 0.0
    return float(values[row]) + floor, bound + floor


def _excess(name: str, row: int, limit: Limit, bound: float, found: float, chance: float | None) -> Excess:
    expected = _expected(name)
    to = expected or bound
    return Excess(
        quantity=name,
        row=row,
        found=found,
        limit=bound,
        expected=expected,
        ratio=found / to if to > 0 else math.inf,
        level=cast("Level", limit.level),
        chance=chance,
        reason=limit.reason,
    )


def _expected(name: str) -> float | None:
    # These are ratios to what is healthy.
    return 1.0 if name in QUANTITIES and name in {"addition", "branch_level", "reset"} else None
