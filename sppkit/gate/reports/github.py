"""Verdicts as GitHub annotations. GitHub shows ten per step: the worst nine, and one that counts the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.gate.reports import wording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sppkit.gate.verdict import Finding, Verdict

# Documented by GitHub: 10 annotations of one kind per step.
_MOST = 10


def render_github(verdicts: Sequence[Verdict]) -> str:
    """Return verdicts as workflow commands, one annotation per line.

    Args:
        verdicts: One per run.

    Returns:
        At most ten lines; empty where there is nothing to say.
    """
    lines = [_annotate("error", f"sppkit: {item.name}", item.missing, None) for item in verdicts if item.missing]
    found = [(finding, verdict) for verdict in verdicts for finding in _ordered(verdict)]
    found.sort(key=lambda pair: (pair[0].level != "error", pair[0] is not pair[1].first, -pair[0].size))
    lines += [_tell(finding, verdict) for finding, verdict in found]
    if len(lines) > _MOST:
        rest = len(lines) - (_MOST - 1)
        lines = [
            *lines[: _MOST - 1],
            _annotate("notice", "sppkit", f"{rest} more findings are in the step summary", None),
        ]
    return "".join(f"{line}\n" for line in lines)


def _ordered(verdict: Verdict) -> list[Finding]:
    return list(verdict.findings)


def _tell(finding: Finding, verdict: Verdict) -> str:
    level = "error" if finding.level == "error" else "warning"
    title = f"sppkit: {verdict.name} {finding.name}".replace("  ", " ")
    return _annotate(level, title, wording.sentence(finding), verdict.places.get(finding.name))


def _annotate(level: str, title: str, message: str, place: tuple[str, int] | None) -> str:
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
