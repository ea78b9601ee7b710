"""Verdicts as SARIF 2.1.0, with file and line of the code behind a block where they are known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sppkit.gate.reports import wording
from sppkit.record.write import versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sppkit.gate.verdict import Finding, Verdict

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render_sarif(verdicts: Sequence[Verdict]) -> str:
    """Return verdicts as one SARIF run.

    Args:
        verdicts: One per run.

    Returns:
        JSON.
    """
    results = [_result(finding, verdict) for verdict in verdicts for finding in verdict.findings]
    results += [_missing(verdict) for verdict in verdicts if verdict.missing]
    rules = [{"id": rule} for rule in sorted({result["ruleId"] for result in results})]
    driver = {"name": "sppkit", "version": versions().get("sppkit", "0"), "rules": rules}
    run = {"tool": {"driver": driver}, "results": results}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _result(finding: Finding, verdict: Verdict) -> dict[str, Any]:
    rule = f"{finding.kind}/{finding.statistic}"
    place = verdict.places.get(finding.name)
    return {
        "ruleId": rule,
        "level": "error" if finding.level == "error" else "warning",
        "message": {"text": wording.sentence(finding)},
        "locations": [_location(finding.name, verdict, place)],
        "partialFingerprints": {"site/v1": f"{verdict.name}/{rule}/{finding.name}"},
    }


def _missing(verdict: Verdict) -> dict[str, Any]:
    return {
        "ruleId": "baseline",
        "level": "error",
        "message": {"text": f"{verdict.name}: {verdict.missing}"},
        "locations": [_location("baseline", verdict, None)],
    }


def _location(name: str, verdict: Verdict, place: tuple[str, int] | None) -> dict[str, Any]:
    location: dict[str, Any] = {
        "logicalLocations": [{"name": name, "fullyQualifiedName": f"{verdict.name}/{name}", "kind": "member"}]
    }
    if place is not None:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": place[0], "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": place[1]},
        }
    return location
