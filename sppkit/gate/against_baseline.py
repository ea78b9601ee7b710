"""Two runs held against each other: what changed by more than the tolerance and by more than chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.chance import FALSE_ALARM, chance_of, estimate, t_between
from sppkit.curves.laws import mean_floor
from sppkit.curves.match_blocks import match_sites
from sppkit.gate.verdict import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.curves.chance import Estimate
    from sppkit.curves.match_blocks import Matching
    from sppkit.curves.signal import Array, Signal
    from sppkit.gate.policy import Policy

_MEAN = "channel_squared_mean"


@dataclass(frozen=True)
class Change:
    """One statistic at one block in two runs.

    Attributes:
        statistic: Its name.
        place: The block's place in the new run.
        found: Geometric mean over seeds in the new run.
        expected: The same in the base.
        log: Logarithm of their ratio; the squared mean's above the floor that noise has.
        chance: Probability that seeds alone do this anywhere in the network.
    """

    statistic: str
    place: int
    found: float
    expected: float
    log: float
    chance: float


def iter_changes(new: Signal, base: Signal, matching: Matching) -> Iterator[Change]:
    """Yield every statistic at every block that both runs hold.

    Args:
        new: One run.
        base: The other.
        matching: Which block is which.

    Yields:
        Changes, statistic by statistic.
    """
    if not matching.pairs:
        return
    places, base_places = (np.array(side) for side in zip(*matching.pairs, strict=True))
    for statistic in (name for name in new.statistics if name in base.statistics):
        floor, base_floor = _floors(new, base, places, base_places) if statistic == _MEAN else (0.0, 0.0)
        found = _estimate(new, statistic, places, floor)
        expected = _estimate(base, statistic, base_places, base_floor)
        t, freedom = t_between(found, expected)
        tests = int(np.isfinite(t).sum())
        for at in np.flatnonzero(np.isfinite(t)):
            yield Change(
                statistic,
                int(places[at]),
                _mean(new.values(statistic)[:, places[at]]),
                _mean(base.values(statistic)[:, base_places[at]]),
                float(found.log[at] - expected.log[at]),
                chance_of(float(t[at]), freedom, tests),
            )


def match(new: Signal, base: Signal) -> Matching:
    """Match the blocks of two runs.

    Args:
        new: One run.
        base: The other.

    Returns:
        The matching.
    """
    sites = [list(zip(side.names, map(float, side.channels), strict=True)) for side in (new, base)]
    return match_sites(*sites)


def iter_regressions(new: Signal, base: Signal, policy: Policy) -> Iterator[Finding]:
    """Yield what differs from a baseline by more than the tolerance and by more than chance.

    A squared mean that fell is no regression; ``announcements`` tells of it.

    Args:
        new: The run.
        base: The baseline's.
        policy: Its ratios are the tolerances.

    Yields:
        Findings; blocks that vanished first.
    """
    matching = match(new, base)
    for place in matching.vanished:
        yield _vanished(base, place)
    for statistic in (name for name in base.statistics if name not in new.statistics):
        yield _unmeasured(base, statistic)
    yield from _iter_absent(new, base, matching)
    for change in iter_changes(new, base, matching):
        allowed = policy.ratio(change.statistic, new.names[change.place])
        if allowed is not None and is_off(change, allowed[0]) and not is_better(change):
            ratio, level = allowed
            yield Finding(
                statistic=change.statistic,
                name=new.names[change.place],
                block=int(new.blocks[change.place]),
                limit=change.expected * (ratio if change.log > 0 else 1 / ratio),
                expected=change.expected,
                found=change.found,
                ratio=math.exp(min(700.0, change.log)),
                level=level,
                kind="baseline",
                seeds=len(new.seeds),
                chance=change.chance,
                reason=f"the baseline, within a factor {ratio:g}",
            )


def iter_inexact(new: Signal, base: Signal) -> Iterator[Finding]:
    """Yield every value that is not the baseline's, to the nine digits that both hold.

    Args:
        new: The run.
        base: The baseline's; the same seeds.

    Yields:
        Findings, one per statistic and block.
    """
    matching = match(new, base)
    for place in matching.vanished:
        yield _vanished(base, place)
    for statistic in (name for name in base.statistics if name in new.statistics):
        values, expected = new.values(statistic), base.values(statistic)
        for place, old in matching.pairs:
            pairs = list(zip(values[:, place], expected[:, old], strict=True))
            unlike = [(a, b) for a, b in pairs if f"{a:.9g}" != f"{b:.9g}"]
            if unlike:
                a, b = max(unlike, key=lambda pair: abs(pair[0] - pair[1]))
                yield Finding(
                    statistic=statistic,
                    name=new.names[place],
                    block=int(new.blocks[place]),
                    limit=None,
                    expected=float(b),
                    found=float(a),
                    ratio=float(a / b) if b > 0 else None,
                    level="error",
                    kind="exact",
                    seeds=len(unlike),
                    reason="--exact: nothing may change",
                )


def is_off(change: Change, ratio: float) -> bool:
    """Return whether a change is beyond its tolerance and beyond chance.

    Args:
        change: The change.
        ratio: The largest factor, up or down, that passes.

    Returns:
        Whether it counts.
    """
    return abs(change.log) > math.log(ratio) and change.chance < FALSE_ALARM


def is_better(change: Change) -> bool:
    """Return whether a change is for the better: a mean that shifts less.

    Args:
        change: The change.

    Returns:
        Whether the squared mean fell.
    """
    return change.statistic == _MEAN and change.log < 0


def _estimate(signal: Signal, statistic: str, places: np.ndarray, floor: Array | float) -> Estimate:
    values = signal.values(statistic)[:, places] + floor
    return estimate(values, signal.stages[places], signal.spread(statistic)[places])


def _floors(new: Signal, base: Signal, places: np.ndarray, base_places: np.ndarray) -> tuple[Array, Array]:
    # Below this share of the variance a squared mean is noise, and the smaller batch has more of it. The baseline's
    # variance for both: a mean that stayed did not shift because the variance did.
    share = np.maximum(mean_floor(new)[places], mean_floor(base)[base_places])
    variance = np.exp(np.log(np.maximum(base.values("channel_variance")[:, base_places], 1e-60)).mean(axis=0))
    floor = share * np.nan_to_num(variance)
    return floor, floor


def _mean(values: Array) -> float:
    return float(np.exp(np.log(np.maximum(values, 1e-60)).mean())) if values.min() > 0 else float(values.mean())


def _vanished(base: Signal, place: int) -> Finding:
    name = base.names[place]
    return Finding(
        statistic="sites",
        name=name,
        block=int(base.blocks[place]),
        limit=None,
        expected=None,
        found=None,
        ratio=None,
        level="error",
        kind="baseline",
        cause=f"{name} is in the baseline and not in this run: it was removed, renamed together with its neighbours, "
        "or has another width",
        seeds=len(base.seeds),
        reason="every block of the baseline must be there",
    )


def _iter_absent(new: Signal, base: Signal, matching: Matching) -> Iterator[Finding]:
    """Yield statistics that a block had and has no more, as the residual variance of a block whose branch is gone."""
    for statistic in (name for name in base.statistics if name in new.statistics):
        values, expected = new.values(statistic), base.values(statistic)
        for place, old in matching.pairs:
            lost = np.isnan(values[:, place]).any() and not new.nonfinite[:, place].any()
            if lost and np.isfinite(expected[:, old]).all():
                yield Finding(
                    statistic=statistic,
                    name=new.names[place],
                    block=int(new.blocks[place]),
                    limit=None,
                    expected=_mean(expected[:, old]),
                    found=None,
                    ratio=None,
                    level="error",
                    kind="baseline",
                    cause=f"{new.names[place]} had a {statistic.replace('_', ' ')} in the baseline and has none here: "
                    "its branch or its addition is gone",
                    seeds=len(new.seeds),
                    reason="every statistic of the baseline must be there",
                )


def _unmeasured(base: Signal, statistic: str) -> Finding:
    return Finding(
        statistic=statistic,
        name=base.names[0],
        block=int(base.blocks[0]),
        limit=None,
        expected=None,
        found=None,
        ratio=None,
        level="error",
        kind="baseline",
        cause=f"{statistic} is in the baseline and was not measured: add it to --stats",
        seeds=len(base.seeds),
        reason="every statistic of the baseline must be there",
    )
