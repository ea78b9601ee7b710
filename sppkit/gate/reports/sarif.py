"""Verdicts as SARIF 2.1.0, with file and line of the code behind a block where they are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sppkit.gate.reports import wording
from sppkit.gate.reports.places import any_place_of
from sppkit.record.write import versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sppkit.gate.verdict import Finding, Verdict

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


# What the rules of one kind say in full.
_KINDS = {
    "policy": "what a healthy network of this kind shows at initialization",
    "prediction": "what theory predicts of this network with Gaussian input",
    "baseline": "the accepted run in the repository, beyond its tolerance and what other seeds would do",
    "exact": "the accepted run in the repository, to nine digits",
}
_MISSING = "The baseline that a run is to be held against is not there, or was measured with other settings."


def render_sarif(verdicts: Sequence[Verdict]) -> str:
    """Return verdicts as one SARIF run."""
    results = [_missing(verdict) for verdict in verdicts if verdict.missing]
    rules = {"baseline": _describe("baseline", "No baseline that can be compared", _MISSING)} if results else {}
    for verdict in verdicts:
        results += [_result(finding, verdict) for finding in verdict.findings]
        rules |= {_rule(finding): _describe_kind(finding) for finding in verdict.findings}
    ordered = [rules[name] for name in sorted(rules)]
    driver = {"name": "sppkit", "version": versions().get("sppkit", "0"), "rules": ordered}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rule(finding: Finding) -> str:
    return f"{finding.kind}/{finding.statistic}"


def _describe_kind(finding: Finding) -> dict[str, Any]:
    what = wording.statistic(finding)
    full = f"The {what} of each block is held against {_KINDS[finding.kind]}."
    return _describe(_rule(finding), f"{what} against {wording.against(finding)}", full)


def _describe(rule: str, short: str, full: str) -> dict[str, Any]:
    return {"id": rule, "shortDescription": {"text": short}, "fullDescription": {"text": full}, "help": {"text": full}}


def _result(finding: Finding, verdict: Verdict) -> dict[str, Any]:
    rule = _rule(finding)
    return {
        "ruleId": rule,
        "level": "error" if finding.level == "error" else "warning",
        "message": {"text": wording.sentence(finding)},
        "locations": [_location(finding.name, verdict)],
        "partialFingerprints": {"site/v1": f"{verdict.name}/{rule}/{finding.name}"},
    }


def _missing(verdict: Verdict) -> dict[str, Any]:
    return {
        "ruleId": "baseline",
        "level": "error",
        "message": {"text": f"{verdict.name}: {verdict.missing}"},
        "locations": [_location("", verdict)],
        "partialFingerprints": {"site/v1": f"{verdict.name}/baseline"},
    }


def _location(name: str, verdict: Verdict) -> dict[str, Any]:
    file, line = any_place_of(verdict, name)  # code scanning refuses a result without a file
    inside = {"uri": quote(file), "uriBaseId": "%SRCROOT%"}
    member = {"name": name or verdict.name, "fullyQualifiedName": f"{verdict.name}/{name}", "kind": "member"}
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": Path(file).as_uri()} if Path(file).is_absolute() else inside,
            "region": {"startLine": line},
        },
        "logicalLocations": [member],
    }
