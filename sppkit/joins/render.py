"""What was found in a model that does not declare its blocks, as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType

    from sppkit.joins.graph import Key
    from sppkit.joins.joins import Findings, Join, Value


def render_joins(findings: Findings) -> list[RenderableType]:
    """Return what was found, to be shown by ``sppkit inspect``."""
    shown: list[RenderableType] = [findings.summary, "", _render_rows(findings), "", "Channels are in brackets."]
    # The same few reasons in every row would fill the screen.
    shown += [f"({letter}) {reason}" for reason, letter in _letters(findings).items()]
    if findings.rejected:
        shown += ["", "Sums that are no joins:", *(f"  {item.name}: {item.reason}" for item in findings.rejected)]
    if findings.skipped:
        shown += ["", "Modules without a row:", *(f"  {text}" for text in findings.skipped)]
    return shown


_HEADINGS = ("join", "output", "branch ends at", "skip comes from", "why")


def _render_rows(findings: Findings) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("row", justify="right", no_wrap=True)
    first, headings = (0, ("module", "output")) if findings.kind == "module" else (1, _HEADINGS)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    letters = _letters(findings)
    for row, join in enumerate(findings.joins, first):
        table.add_row(str(row), *_cells(join, letters))
    return table


def _letters(findings: Findings) -> dict[str, str]:
    reasons = dict.fromkeys(join.reason for join in findings.joins if join.reason)
    return {reason: chr(ord("a") + number) for number, reason in enumerate(reasons)}


def _cells(join: Join, letters: Mapping[str, str]) -> tuple[str, ...]:
    if join.skip is None:
        return join.name, join.output.described
    branch = join.branch.place if join.branch is not None else "nowhere in memory by itself"
    scaled = ", then scaled" * (join.branch is not None and join.branch.key != _key(join.scaled_branch))
    why = f"({letters[join.reason]})" if join.reason else ""
    return join.name, join.output.described, branch + scaled, join.skip.place, why


def _key(value: Value | None) -> Key | None:
    return None if value is None else value.key
