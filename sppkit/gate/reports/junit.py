"""Verdicts as JUnit XML: one suite per run, one test case per block."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from sppkit.gate.reports import wording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sppkit.gate.verdict import Finding, Verdict


def render_junit(verdicts: Sequence[Verdict]) -> str:
    """Return verdicts as JUnit XML."""
    suites = [_suite(verdict) for verdict in verdicts]
    root = ET.Element("testsuites", name="sppkit check")
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    root.extend(suites)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(verdict: Verdict) -> ET.Element:
    suite = ET.Element("testsuite", name=verdict.name or "sppkit")
    found: dict[str, list[Finding]] = {name: [] for name in verdict.sites}
    for finding in verdict.findings:  # a block that is gone is no site
        found.setdefault(finding.name, []).append(finding)
    for name, findings in found.items():
        case = ET.SubElement(suite, "testcase", classname=verdict.name or "sppkit", name=name)
        _fill(case, findings)
    if verdict.missing:
        case = ET.SubElement(suite, "testcase", classname=verdict.name or "sppkit", name="baseline")
        ET.SubElement(case, "error", message=verdict.missing, type="baseline")
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("errors", str(len(suite.findall("testcase/error"))))
    return suite


def _fill(case: ET.Element, findings: Sequence[Finding]) -> None:
    failing = [finding for finding in findings if finding.level == "error"]
    if failing:
        message = wording.sentence(failing[0])
        failure = ET.SubElement(case, "failure", message=message, type=failing[0].statistic)
        failure.text = "\n".join(map(wording.sentence, failing))
    warned = [finding for finding in findings if finding.level == "warn"]
    if warned:
        ET.SubElement(case, "system-out").text = "\n".join(f"warning: {wording.sentence(item)}" for item in warned)
