"""The verdict in the terminal: one line, the first bad block, the worst few, and what to type next."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, cast

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sppkit.gate.reports import wording
from sppkit.gate.reports.safe import safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from sppkit.gate.verdict import Finding, Verdict

_STYLES = {"PASS": "green", "WARN": "yellow", "FAIL": "bold red", "NO BASELINE": "bold yellow"}
_WORST = 5


def render_terminal(verdict: Verdict) -> list[RenderableType]:
    """Return a verdict for people."""
    verdict = safe(verdict)
    word = wording.word(verdict)
    lines: list[RenderableType] = [Text.assemble((word, _STYLES[word]), " ", wording.headline(verdict))]
    first = verdict.first
    if first is not None:
        lines += _tell_first(first)
        worst = verdict.worst(_WORST)
        if worst:
            lines.append(Padding(_tabulate(worst, _left(verdict, worst)), (0, 0, 0, 2)))
    lines += _iter_marked("judged", [", ".join(verdict.judged)] if verdict.findings or verdict.missing else [])
    lines += _iter_marked("skipped", verdict.skipped)
    lines += _iter_marked("baseline", [verdict.missing] if verdict.missing and verdict.errors else [])
    lines += _iter_marked("test", verdict.tests)
    lines += _iter_marked("note", verdict.notices)
    lines += _iter_marked("next", verdict.next_steps)
    return lines


def _tell_first(first: Finding) -> list[RenderableType]:
    if first.found is None:
        return [_marked("first", f"{wording.place(first)}: {first.cause}", "bold")]
    what = f"{wording.place(first)}: {wording.statistic(first)} against {wording.against(first)}"
    told: list[RenderableType] = [_marked("first", what, "bold"), _marked("", ", ".join(wording.numbers(first)))]
    if first.cause:
        told.append(_marked("cause", first.cause))
    if first.reason:
        told.append(_marked("limit", first.reason, "dim"))
    return told


def _tabulate(findings: Sequence[Finding], left: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=left > 0)
    table.add_column("worst", overflow="fold", footer=f"and {left} more")
    for heading in ("statistic", "against"):
        table.add_column(heading)
    for heading in ("expected", "found", "limit", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    for finding in findings:
        numbers = (finding.expected, finding.found, finding.limit, finding.ratio)
        table.add_row(
            wording.place(finding),
            wording.statistic(finding),
            wording.against(finding),
            *("" if value is None else wording.number(value) for value in numbers),
        )
    return table


def _left(verdict: Verdict, shown: Sequence[Finding]) -> int:
    return len(verdict.errors or verdict.warnings) - 1 - len(shown)


def _iter_marked(mark: str, lines: Sequence[str]) -> Iterator[RenderableType]:
    for index, line in enumerate(lines):
        yield _marked(mark if index == 0 else "", line)


def _marked(mark: str, text: str, style: str = "") -> Text:
    return Text.assemble("  ", (f"{mark:<9}", "bold" if mark == "first" else "dim"), (text, style))


def render_text(verdict: Verdict, width: int = 120) -> str:
    """Return a verdict as plain text, for a failing test."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for renderable in render_terminal(verdict):
        console.print(renderable, soft_wrap=isinstance(renderable, Text), highlight=False)
    text = cast("io.StringIO", console.file).getvalue()
    return "\n".join(line.rstrip() for line in text.splitlines())
