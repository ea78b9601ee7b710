"""Reports beside the terminal's: to files, to standard output, and to GitHub's step summary."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sppkit.errors import UsageError
from sppkit.gate.reports import FORMATS, render
from sppkit.machine.files import make_folder, replacing
from sppkit.machine.replace import behind_links, descriptor_of, is_stream
from sppkit.registry import check_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sppkit.gate.verdict import Verdict

_STDOUT = "-"
# The descriptor of standard output.
_OUTPUT = 1
_HINT = "Choose another place for the report."
# GitHub names a file that each step appends to.
_SUMMARY = "GITHUB_STEP_SUMMARY"


class Report(NamedTuple):
    """One report that was asked for: its format, and its file (``-`` for standard output)."""

    format: str
    path: str


def parse_reports(given: Iterable[str]) -> list[Report]:
    """Read what ``--report`` says, and make sure that its files can be written before anything is measured."""
    reports = [_parse(text) for text in given]
    seen = set()
    for path in (Path(report.path) for report in reports if report.path != _STDOUT):
        if is_stream(path):  # takes one after the other
            continue
        _check_writable(path)
        if path.resolve() in seen:
            raise UsageError(f"--report: two reports would go to {path}. Give each a file of its own.")
        seen.add(path.resolve())
    return reports


def publish(reports: Iterable[Report], verdicts: Sequence[Verdict]) -> list[str]:
    """Write reports."""
    shown = []
    for report in reports:
        text = render(report.format, verdicts)
        if report.path == _STDOUT:
            shown.append(text.rstrip("\n"))
        else:
            with replacing(Path(report.path), _HINT) as temporary:
                temporary.write_text(text, encoding="utf-8")
        if report.format == "github":
            _append_summary(verdicts)
    return [text for text in shown if text]


def takes_output(reports: Iterable[Report]) -> bool:
    """Return whether standard output belongs to a report that a program reads."""
    return any(report.path == _STDOUT and report.format != "github" for report in reports)


def _parse(text: str) -> Report:
    name, _, path = text.partition("=")
    check_name("report format", name, FORMATS)
    if not path and name != "github":
        raise UsageError(f"--report {name}: say where to, as in {name}=FILE, or {name}=- for standard output.")
    is_output = not path or descriptor_of(Path(path)) == _OUTPUT
    return Report(name, _STDOUT if is_output else path)


def _check_writable(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"--report: can't write {path}: it is a folder. Name a file in it.")
    folder = behind_links(path).parent
    if not folder.exists():
        raise UsageError(f"--report: can't write {path}: there is no folder {folder}. Make it, or name another.")
    try:
        make_folder(folder)
    except UsageError:
        raise UsageError(f"--report: can't write {path}: its folder takes no files. Choose another one.") from None


def _append_summary(verdicts: Sequence[Verdict]) -> None:
    summary = os.environ.get(_SUMMARY)
    if not summary:
        return
    try:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(render("markdown", verdicts))
    except OSError as error:
        raise UsageError(f"can't write the step summary {summary}: {error.strerror}.") from None
