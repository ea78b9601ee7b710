"""A signal against the absolute bounds of a policy: what needs no baseline and no theory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np

from sppkit.curves.chance import FALSE_ALARM, chance_of, estimate, t_against
from sppkit.curves.laws import QUANTITIES, mean_floor, measured
from sppkit.gate.verdict import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.curves.signal import Array, Signal
    from sppkit.gate.limit import Bound, Limit
    from sppkit.gate.policy import Policy
    from sppkit.gate.verdict import Level


def iter_limit_findings(signal: Signal, policy: Policy) -> Iterator[Finding]:
    """Yield what passes a bound by more than chance.

    Args:
        signal: The signal.
        policy: The policy.

    Yields:
        Findings, limit by limit.
    """
    yield from _iter_nonfinite(signal, policy)
    for quantity, limits in policy.limits.items():
        for limit in limits:
            if limit.bounds():
                yield from _iter_beyond(signal, quantity, limit)


def unjudged(signal: Signal, policy: Policy) -> list[str]:
    """Return what a policy limits and this signal does not hold.

    Args:
        signal: The signal.
        policy: The policy.

    Returns:
        At most one line.
    """
    bounded = [name for name, limits in policy.limits.items() if any(limit.bounds() for limit in limits)]
    missing = [name for name in bounded if name != "nonfinite" and _is_absent(signal, name)]
    return [f"{', '.join(missing)} (this run does not hold what it takes)"] if missing else []


def _is_absent(signal: Signal, quantity: str) -> bool:
    found = measured(signal, quantity)
    return found is None or not np.isfinite(found.of(signal)).any()


def _iter_nonfinite(signal: Signal, policy: Policy) -> Iterator[Finding]:
    worst = signal.nonfinite.max(axis=0)
    for limit in policy.limits.get("nonfinite", ()):
        for place in np.flatnonzero(worst > (math.inf if limit.max is None else limit.max)):
            if limit.covers(signal.names[place]):
                yield _finding(signal, "nonfinite", int(place), limit, limit.max or 0.0, float(worst[place]), 0.0)


def _iter_beyond(signal: Signal, name: str, limit: Limit) -> Iterator[Finding]:
    quantity = None if name == "nonfinite" else measured(signal, name)
    if quantity is None:
        return
    prior = signal.spread(quantity.spread)
    found = estimate(quantity.of(signal), signal.stages, prior)
    # A signal without a finite value is the business of ``nonfinite``.
    judged = np.isfinite(found.log) & np.array([limit.covers(block) for block in signal.names], dtype=bool)
    judged &= ~signal.heads
    tests = max(1, int(judged.sum()))
    for kind, bound in limit.bounds():
        log = np.full(len(judged), math.log(max(bound, 1e-300)))
        t, freedom = t_against(found, log)
        beyond = (t > 0) if kind == "max" else (t < 0)
        for place in np.flatnonzero(judged & beyond):
            chance = chance_of(float(t[place]), freedom, tests)
            if chance < FALSE_ALARM:
                value, allowed = _shown(signal, name, int(place), kind, bound, found.values)
                yield _finding(signal, name, int(place), limit, allowed, value, chance)


def _shown(signal: Signal, name: str, place: int, kind: Bound, bound: float, values: Array) -> tuple[float, float]:
    # The mean's share is judged above its floor, and shown as anyone would compute it.
    floor = float(mean_floor(signal)[place]) if name == "mean_shift" and kind == "max" else 0.0
    return float(values[place]) + floor, bound + floor


def _finding(signal: Signal, name: str, place: int, limit: Limit, bound: float, found: float, chance: float) -> Finding:
    return Finding(
        statistic=name,
        name=signal.names[place],
        block=int(signal.blocks[place]),
        limit=bound,
        expected=_expected(name),
        found=found,
        ratio=_ratio(found, _expected(name) or bound),
        level=cast("Level", limit.level),
        seeds=len(signal.seeds),
        chance=None if name == "nonfinite" else chance,
        reason=limit.reason,
    )


def _ratio(found: float, to: float) -> float:
    return found / to if to > 0 else math.inf


def _expected(name: str) -> float | None:
    # These are ratios to what is healthy.
    return 1.0 if name in QUANTITIES and name in {"addition", "branch_level", "reset"} else None
