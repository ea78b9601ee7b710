"""Verdicts as GitLab's code quality report."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from sppkit.gate.reports import wording
from sppkit.gate.reports.places import any_place_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sppkit.gate.verdict import Finding, Verdict


def render_gitlab(verdicts: Sequence[Verdict]) -> str:
    """Return verdicts as GitLab's subset of the Code Climate format."""
    return json.dumps([issue for verdict in verdicts for issue in _iter_issues(verdict)], indent=1) + "\n"


def _iter_issues(verdict: Verdict) -> Iterator[dict[str, Any]]:
    if verdict.missing:
        yield _issue(verdict, "baseline", "", f"{verdict.name}: {verdict.missing}", "major")
    first = verdict.first
    for finding in verdict.findings:
        severity = "minor" if finding.level == "warn" else "critical" if finding is first else "major"
        yield _issue(verdict, _check_name(finding), finding.name, wording.sentence(finding), severity)


def _issue(verdict: Verdict, check: str, name: str, description: str, severity: str) -> dict[str, Any]:
    path, line = any_place_of(verdict, name)  # GitLab wants a path
    return {
        "check_name": check,
        "description": description,
        # The same finding in two pipelines is one issue, whatever its numbers.
        "fingerprint": hashlib.sha256(f"{verdict.name}/{check}/{name}".encode()).hexdigest(),
        "location": {"path": path, "lines": {"begin": line}},
        "severity": severity,
    }


def _check_name(finding: Finding) -> str:
    return f"sppkit/{finding.kind}/{finding.statistic}"
