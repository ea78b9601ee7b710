"""The page beside a command's other files, where ``--format html`` asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd


def heading_of(records: Sequence[Mapping[str, Any]], title: str | None = None) -> tuple[str | None, str | None]:
    """Return the title and subtitle that several runs share; of a single run the page knows its own."""
    from sppkit.comparison.summary import common_subtitle, common_title

    if len(records) == 1 or not all(records):
        return title, None
    return title or common_title(records) or None, common_subtitle(records)


def refuse_page(formats: Iterable[str], command: str) -> None:
    """Refuse a page of what has none, before anything is measured."""
    from sppkit.errors import UsageError

    if any(name.endswith("html") for name in formats):
        raise UsageError(f"--format html: {command} has no interactive page; take png, svg or pdf.")


def write_page(
    runs: Sequence[tuple[str, pd.DataFrame, Mapping[str, Any]]], path: Path, *, title: str | None = None
) -> None:
    """Write the page of runs, each what the legend calls it, its table and its record."""
    from sppkit.plot.page.report import build_page
    from sppkit.plot.page.shown_run import ShownRun

    title, subtitle = heading_of([record for _, _, record in runs], title)
    build_page([ShownRun(*run) for run in runs], title=title, subtitle=subtitle).save(path)
