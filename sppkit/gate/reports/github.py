"""Verdicts as GitHub annotations. GitHub shows ten per step: the worst nine, and one that counts the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sppkit.gate.reports import wording
from sppkit.gate.reports.places import place_of
from sppkit.gate.verdict import FOLLOWS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sppkit.gate.verdict import Finding, Verdict

# Documented by GitHub: 10 annotations of one kind per step.
_MOST = 10


def render_github(verdicts: Sequence[Verdict]) -> str:
    """Return verdicts as workflow commands, one annotation per line."""
    lines = [_tell_missing(verdict) for verdict in verdicts if verdict.missing]
    ranked = [pair for verdict in verdicts for pair in _iter_ranked(verdict)]
    lines += [line for _, line in sorted(ranked, key=lambda pair: pair[0])]
    if len(lines) > _MOST:
        rest = f"{len(lines) - (_MOST - 1)} more findings are in the step summary"
        lines = [*lines[: _MOST - 1], _annotate("notice", "sppkit", rest, None)]
    return "".join(f"{line}\n" for line in lines)


def _iter_ranked(verdict: Verdict) -> Iterator[tuple[tuple[bool, int, float], str]]:
    """Yield each annotation behind its rank: errors first, then the first block, the largest, what follows from it."""
    first = verdict.first
    following = [finding for finding in verdict.findings if finding.cause == FOLLOWS and finding is not first]
    folded = first is not None and len(following) > 1
    for finding in verdict.findings:
        if finding is first or finding.cause != FOLLOWS or not folded:
            yield (finding.level != "error", int(finding is not first), -finding.size), _tell(finding, verdict)
    if first is not None and folded:
        yield (first.level != "error", 2, 0.0), _tell_following(following, first, verdict)


def _tell_missing(verdict: Verdict) -> str:
    return _annotate("error", f"sppkit: {verdict.name}", verdict.missing, place_of(verdict, ""))


def _tell(finding: Finding, verdict: Verdict) -> str:
    title = f"sppkit: {verdict.name} {finding.name}".replace("  ", " ")
    return _annotate(finding.level, title, wording.sentence(finding), place_of(verdict, finding.name))


def _tell_following(found: Sequence[Finding], first: Finding, verdict: Verdict) -> str:
    worst = max(found, key=lambda finding: finding.size)
    names = {finding.name for finding in found}
    blocks = f"{len(names)} {'block' if len(names) == 1 else 'blocks'}"
    largest = wording.sentence(replace(worst, cause=""))
    told = f"{len(found)} more findings in {blocks} follow from {wording.place(first)}; the largest is {largest}"
    return _annotate(first.level, f"sppkit: {verdict.name}", told, place_of(verdict, first.name))


def _annotate(level: str, title: str, message: str, place: tuple[str, int] | None) -> str:
    level = "warning" if level == "warn" else level
    properties = {"title": title}
    if place is not None:
        properties = {"file": place[0], "line": str(place[1]), **properties}
    told = ",".join(f"{name}={_escape(value, ',:')}" for name, value in properties.items())
    return f"::{level} {told}::{_escape(message)}"


def _escape(text: str, further: str = "") -> str:
    # A name with a line break in it must not become a command of its own.
    for letter in "%\r\n" + further:
        text = text.replace(letter, f"%{ord(letter):02X}")
    return text
