"""What the gate says, once per reader: a file per format, each from verdicts to text."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from sppkit.gate.reports.safe import safe
from sppkit.registry import check_name
from sppkit.registry.entries import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sppkit.gate.verdict import Verdict

FORMATS: dict[str, Entry] = {
    "json": Entry("sppkit.gate.reports.json_:render_json", "everything, for programs"),
    "junit": Entry("sppkit.gate.reports.junit:render_junit", "JUnit XML: one test case per block"),
    "github": Entry("sppkit.gate.reports.github:render_github", "GitHub annotations, and the step summary"),
    "gitlab": Entry("sppkit.gate.reports.gitlab:render_gitlab", "GitLab's code quality report"),
    "sarif": Entry("sppkit.gate.reports.sarif:render_sarif", "SARIF 2.1.0, for code scanning"),
    "markdown": Entry("sppkit.gate.reports.markdown:render_markdown", "a comment for a pull request"),
}


def render(name: str, verdicts: Sequence[Verdict]) -> str:
    """Return verdicts as text in one of the formats."""
    module, _, attribute = FORMATS[check_name("report format", name, FORMATS)].target.partition(":")
    renderer = getattr(importlib.import_module(module), attribute)
    # JSON escapes what can't be shown, and a program may want the name as it is.
    shown = verdicts if name == "json" else [safe(verdict) for verdict in verdicts]
    return cast("Callable[[Sequence[Verdict]], str]", renderer)(shown)
