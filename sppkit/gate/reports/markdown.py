"""Verdicts as Markdown: a pull-request comment, and GitHub's step summary."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sppkit.gate.reports import wording

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sppkit.gate.verdict import Finding, Verdict

_MARKS = {"PASS": "✅", "WARN": "⚠️", "FAIL": "❌", "NO BASELINE": "❓"}
# Markdown takes a backslash before any of these.
_MARKUP = re.compile(r"[\\`*_|\[\]~$]")
# Behind these GitHub sees a person, an issue, an address; an empty comment between keeps them text.
_LINKED = re.compile(r"@|#|://?|\bwww", re.IGNORECASE)
# A comment may have 65536 characters; no reader wants as many.
_MOST = 20


def render_markdown(verdicts: Sequence[Verdict]) -> str:
    """Return verdicts as Markdown."""
    lines = ["<!-- sppkit check -->"]
    for verdict in verdicts:
        lines += _iter_lines(verdict)
    return "\n".join(lines) + "\n"


def _iter_lines(verdict: Verdict) -> Iterator[str]:
    word = wording.word(verdict)
    yield f"### {_MARKS[word]} {word} {_escape(wording.headline(verdict))}"
    yield ""
    first = verdict.first
    if first is not None and first.cause:
        yield f"**Likely cause:** {_escape(first.cause)}."
        yield ""
    if verdict.findings:
        yield from _iter_table(verdict)
    for test in verdict.tests:
        yield f"- {_escape(test)}"
    for notice in verdict.notices:
        yield f"- {_escape(notice)}"
    for step in verdict.next_steps:
        yield f"- next: {_escape(step)}"
    yield ""


def _iter_table(verdict: Verdict) -> Iterator[str]:
    first = verdict.first
    rows = ([] if first is None else [first]) + verdict.worst(_MOST - 1)
    yield "| block | statistic | against | expected | found | limit | ratio | seeds | chance |"
    yield "|---|---|---|--:|--:|--:|--:|--:|--:|"
    for finding in rows:
        yield "| " + " | ".join(_escape(cell) for cell in _cells(finding)) + " |"
    left = len(verdict.findings) - len(rows)
    if left > 0:
        yield ""
        yield f"and {left} more."
    yield ""


def _cells(finding: Finding) -> list[str]:
    values = (finding.expected, finding.found, finding.limit, finding.ratio)
    return [
        wording.place(finding),
        wording.statistic(finding),
        wording.against(finding),
        *("" if value is None else wording.number(value) for value in values),
        str(finding.seeds),
        "" if finding.chance is None else f"{finding.chance:.0e}",
    ]


def _escape(text: str) -> str:
    # A block's name may hold what Markdown, HTML or GitHub would read as its own: a table's bar, a tag, a person.
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _MARKUP.sub(r"\\\g<0>", text)
    return _LINKED.sub(r"\g<0><!-- -->", text)
