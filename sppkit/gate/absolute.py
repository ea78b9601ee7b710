"""A run by itself, as findings: what leaves its policy's limits or theory, and what the diagnosis sees before that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.diagnosis.beyond_limits import is_absent
from sppkit.diagnosis.examine import JUDGED_BY
from sppkit.diagnosis.presets import limits_of
from sppkit.gate.verdict import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.curves.curves import Curves
    from sppkit.diagnosis.beyond_limits import Excess
    from sppkit.diagnosis.examine import Examination
    from sppkit.diagnosis.limit import Level, Limits
    from sppkit.diagnosis.result import Diagnosis


def iter_own_findings(curves: Curves, limits: Limits, examination: Examination) -> Iterator[Finding]:
    """Yield what is wrong with a run without a baseline."""
    for excess in examination.excesses:
        yield _of_excess(curves, excess)
    failing = [excess for excess in examination.excesses if excess.level == "error"]
    first = min((int(curves.blocks[excess.row]) for excess in failing), default=None)
    own = limits_of(curves)
    # An error is told also where a warning stands at its block or before.
    for fault in sorted(examination.faults, key=lambda item: item.severity != "error"):
        law = JUDGED_BY.get(fault.name, fault.statistic)
        telling = failing if fault.severity == "error" else failing or examination.excesses
        told = any(curves.blocks[excess.row] == fault.block for excess in telling)
        if limits.get(law) == own.get(law) and not told and (first is None or fault.block < first):
            yield _of_fault(curves, fault, "error" if fault.severity == "error" or failing else "warn")
            return


def unjudged(curves: Curves, limits: Limits) -> list[str]:
    """Return what a policy limits and these curves do not hold."""
    bounded = [name for name, several in limits.items() if any(limit.bounds() for limit in several)]
    missing = [name for name in bounded if name != "nonfinite" and is_absent(curves, name)]
    return [f"{', '.join(missing)} (this run does not hold what it takes)"] if missing else []


def _of_excess(curves: Curves, excess: Excess) -> Finding:
    return Finding(
        statistic=excess.quantity,
        name=curves.names[excess.row],
        block=int(curves.blocks[excess.row]),
        limit=excess.limit,
        expected=excess.expected,
        found=excess.found,
        ratio=excess.ratio,
        level=excess.level,
        kind=excess.kind,
        seeds=len(curves.seeds),
        chance=excess.chance,
        reason=excess.reason,
    )


def _of_fault(curves: Curves, fault: Diagnosis, level: Level) -> Finding:
    return Finding(
        statistic=fault.statistic,
        name=fault.block_name,
        block=fault.block,
        limit=fault.limit,
        expected=fault.expected,
        found=fault.found,
        ratio=fault.ratio if fault.ratio is not None else fault.found / fault.limit if fault.limit > 0 else None,
        level=level,
        seeds=len(curves.seeds),
        reason=f"{fault.name}: {fault.fact}",
    )
