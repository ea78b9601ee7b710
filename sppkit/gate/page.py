"""The interactive page of a run that was judged: the gate's verdict at its top, the baseline under its curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.gate.reports import wording
from sppkit.plot.page.report import build_page
from sppkit.plot.page.shown_run import ShownRun
from sppkit.plot.page.statements import Statement
from sppkit.plot.page.statements import Verdict as Told

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from sppkit.gate.baseline import Baseline
    from sppkit.gate.saved_run import SavedRun
    from sppkit.gate.verdict import Finding, Verdict
    from sppkit.plot.page.report import Page

# Findings that have a line of their own, beside the first: what follows from it says less and less.
_WORST = 7


def gate_page(saved: SavedRun, verdict: Verdict, baseline: Baseline | None = None) -> Page:
    """Return the page of a run and of the baseline that it was held against, if there is one."""
    runs = [ShownRun(saved.key, saved.table, saved.record)]
    if baseline is not None:
        runs.append(ShownRun(f"baseline {baseline.key}", baseline.table, baseline.record))
    level: Literal["error", "warning", "good"] = (
        "error" if verdict.exit_code else "warning" if verdict.warnings else "good"
    )
    told = Told(level, f"{wording.word(verdict)}: {wording.headline(verdict)}.", tuple(_iter_statements(verdict)))
    return build_page(runs, title=verdict.title or None, subtitle=None, verdict=told)


def _iter_statements(verdict: Verdict) -> Iterator[Statement]:
    if verdict.first is not None:
        told = [verdict.first, *verdict.worst(_WORST)]
        yield from map(_state, told)
        left = len(verdict.errors or verdict.warnings) - len(told)
        if left > 0:
            yield Statement(level="remark", text=f"And {left} more.")
    marked = [("skipped", verdict.skipped), ("test", verdict.tests), ("note", verdict.notices)]
    for mark, lines in marked:
        for line in lines:
            yield Statement(level="remark", text=f"{mark}: {line}")


def _state(finding: Finding) -> Statement:
    if finding.found is None:
        return Statement(level="error", text=f"{wording.place(finding)}: {finding.cause}.")
    text = f"{wording.place(finding)}: {wording.statistic(finding)} against {wording.against(finding)}"
    numbers = f"{text}: {', '.join(wording.numbers(finding))}."
    more = [f"Likely cause: {finding.cause}." if finding.cause else "", finding.reason]
    return Statement(
        level="error" if finding.level == "error" else "warning",
        text=numbers,
        more=" ".join(filter(None, more)),
        block=finding.block,
    )
