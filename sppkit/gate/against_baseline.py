"""A run against an accepted one: every change that matters, and every digit where nothing may change."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.match_blocks import match
from sppkit.gate.verdict import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from sppkit.curves.curves import Array, Curves
    from sppkit.curves.match_blocks import Matching
    from sppkit.gate.compared import Change, Compared
    from sppkit.gate.policy import Policy


_BEGINS = "what fails further on begins here, within its limit: every row before it is the baseline's"


def iter_regressions(compared: Compared, policy: Policy) -> Iterator[Finding]:
    """Yield what differs from a baseline, is real, and is more than the tolerance.

    A mean that shifts less is no regression; ``notices`` tells of it.
    """
    new, base = compared.new, compared.base
    yield from _iter_vanished(new, base, compared.matching)
    yield from _iter_absent(new, base, compared.matching)
    changed = [item for item in compared.changes if not item.is_better and item.matters(policy, new.names[item.place])]
    origin = compared.origin(policy)
    if origin is not None and changed and origin.place < min(item.place for item in changed):
        yield replace(_changed(origin, compared, policy), reason=_BEGINS)
    for change in changed:
        yield _changed(change, compared, policy)


def _changed(change: Change, compared: Compared, policy: Policy) -> Finding:
    name = compared.new.names[change.place]
    limit, level = change.limit(policy, name) or (0.0, "error")
    signed = math.copysign(limit, change.size)
    is_log = change.scale == "log"
    within = f"a factor {math.exp(limit):g}" if is_log else f"{limit:g}"
    return Finding(
        statistic=change.statistic,
        name=name,
        block=int(compared.new.blocks[change.place]),
        limit=change.expected * math.exp(signed) if is_log else change.expected + signed,
        expected=change.expected,
        found=change.found,
        ratio=change.ratio,
        level=level,
        kind="baseline",
        seeds=len(compared.new.seeds) if change.chance is not None else len(compared.pairing.seeds),
        chance=change.chance,
        reason=f"the baseline, within {within}",
    )


def iter_inexact(new: Curves, base: Curves) -> Iterator[Finding]:
    """Yield every value that is not the baseline's, to the nine digits that both hold."""
    matching = match(new, base)
    yield from _iter_vanished(new, base, matching)
    for statistic in (name for name in base.statistics if name in new.statistics):
        values, expected = new.values(statistic), base.values(statistic)
        for place, old in matching.pairs:
            pairs = zip(values[:, place], expected[:, old], strict=True)
            yield from iter_unlike_digits(statistic, new.names[place], int(new.blocks[place]), pairs)


def iter_unlike_digits(
    statistic: str, name: str, block: int, pairs: Iterable[tuple[float, float]]
) -> Iterator[Finding]:
    """Yield that a number is not the baseline's in some seed, to the nine digits that both hold."""
    unlike = [(float(a), float(b)) for a, b in pairs if f"{a:.9g}" != f"{b:.9g}"]
    if unlike:
        found, expected = max(unlike, key=lambda pair: abs(pair[0] - pair[1]))
        yield Finding(
            statistic=statistic,
            name=name,
            block=block,
            limit=None,
            expected=expected,
            found=found,
            ratio=found / expected if expected > 0 else None,
            level="error",
            kind="exact",
            seeds=len(unlike),
            reason="--exact: nothing may change",
        )


def _mean(values: Array) -> float:
    return float(np.exp(np.log(np.maximum(values, 1e-60)).mean())) if values.min() > 0 else float(values.mean())


def _iter_vanished(new: Curves, base: Curves, matching: Matching) -> Iterator[Finding]:
    """Yield what the base has and the new run has not: blocks, statistics, or every addition."""
    added = np.flatnonzero(np.isfinite(base.values("residual_variance")).any(axis=0))
    if new.layered and added.size:
        yield _without_additions(base, added)
        return
    for place in matching.vanished:
        yield _vanished(base, place)
    for statistic in (name for name in base.compared if name not in new.statistics):
        yield _unmeasured(base, statistic)


def _without_additions(base: Curves, added: NDArray[np.int64]) -> Finding:
    return _missing(
        base,
        int(added[0]),
        f"the baseline has {len(added)} times an addition of a skip and a branch, and this run has none: every skip is "
        "missing, or is added where it can't be seen, as in compiled or scripted code",
    )


def _vanished(base: Curves, place: int) -> Finding:
    name = base.names[place]
    skip = (
        "its skip is missing, or it was "
        if np.isfinite(base.values("residual_variance")[:, place]).any()
        else "it was "
    )
    return _missing(
        base,
        place,
        f"{name} is in the baseline and not in this run: {skip}removed, renamed together with its "
        "neighbours, or given another width",
    )


def _missing(base: Curves, place: int, cause: str) -> Finding:
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
        cause=cause,
        seeds=len(base.seeds),
        reason="every block of the baseline must be there",
    )


def _iter_absent(new: Curves, base: Curves, matching: Matching) -> Iterator[Finding]:
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


def _unmeasured(base: Curves, statistic: str) -> Finding:
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
