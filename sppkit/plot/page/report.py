"""The interactive page of one or more runs, for Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sppkit.errors import UsageError
from sppkit.machine.files import replacing
from sppkit.measuring.titles import subtitle as subtitle_of
from sppkit.measuring.titles import title as title_of
from sppkit.plot.page.document import frame, render
from sppkit.plot.page.shown_run import ShownRun
from sppkit.plot.page.statements import judge
from sppkit.record.table import COLUMNS, STEP, read_csv
from sppkit.record.write import read_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sppkit.plot.page.statements import Verdict

    Source = pd.DataFrame | str | Path

# Colours and kinds of line that can be told apart.
MOST_RUNS = 32


@dataclass(frozen=True)
class Page:
    """A finished page; a notebook shows it as it is.

    Attributes:
        title: What stands at its top.
        html: All of it: one file of HTML, which fetches nothing.
    """

    title: str
    html: str

    def save(self, path: str | Path) -> None:
        """Write the page, whole or not at all.

        Args:
            path: The file to create or replace.

        Raises:
            UsageError: If it can't be written.
        """
        with replacing(Path(path), "Choose another place for the page.") as temporary:
            temporary.write_text(self.html, encoding="utf-8", newline="\n")

    def _repr_html_(self) -> str:  # what a notebook shows
        return frame(self.html, self.title)

    def __repr__(self) -> str:
        return f"<Page {self.title!r}, {len(self.html) / 1000:.0f} kB; save(PATH) writes it>"


def report(
    runs: Source | Sequence[Source] | Mapping[str, Source],
    *,
    record: Mapping[str, Any] | None = None,
    title: str | None = None,
    subtitle: str | None = None,
) -> Page:
    """Make one interactive page of one or more runs: the verdict, linked panels, the table, the record.

    Args:
        runs: A table, or the path of a saved run (with its record beside it); or several of them, in a list or by what
            the legend calls them.
        record: The record of a single table.
        title: What stands at the top; from the record, or the names of the runs, where it is left out.
        subtitle: How it was measured.

    Returns:
        The page: ``save`` writes it, a notebook shows it.

    Raises:
        UsageError: If there is no run or more than 32, if one can't be read or is no table, or if a record is given
            to several runs.

    >>> from sppkit.record.table import build_table
    >>> rows = [dict(seed=0, block=k, stage=1, name=f"b{k}", channels=64, height=8, width=8, nonfinite=0,
    ...              channel_squared_mean=0.01, channel_variance=1.0) for k in range(1, 6)]
    >>> page = report(build_table(rows), title="mine")
    >>> page.html.startswith("<!doctype html>"), page.title
    (True, 'mine')
    """
    named = _named(runs)
    if not 1 <= len(named) <= MOST_RUNS:
        raise UsageError(f"a page shows from 1 to {MOST_RUNS} runs, not {len(named)}.")
    if record is not None and len(named) > 1:
        raise UsageError("record= belongs to a single table; saved runs have theirs beside them.")
    shown = [_load(label, source, record) for label, source in named.items()]
    return build_page(shown, title=title, subtitle=subtitle)


def build_page(
    runs: Sequence[ShownRun],
    *,
    title: str | None = None,
    subtitle: str | None = None,
    verdict: Verdict | None = None,
) -> Page:
    """Make the page of runs that were read already.

    Args:
        runs: At least one.
        title: What stands at the top.
        subtitle: How they were measured.
        verdict: What was found; what ``diagnose`` finds where it is left out.

    Returns:
        The page.
    """
    first = runs[0].record
    if title is None:
        title = title_of(first) if len(runs) == 1 and first else ", ".join(run.label for run in runs)
    if subtitle is None:
        subtitle = subtitle_of(first) if len(runs) == 1 and first else ""
    return Page(title, render(runs, verdict or judge(runs), title=title, subtitle=subtitle))


def load_shown(path: Path, label: str | None = None) -> ShownRun:
    """Read a saved run with the record beside it.

    Args:
        path: Its CSV.
        label: What the legend calls it; its file's name where it is left out.

    Returns:
        The run.

    Raises:
        UsageError: If one of the two can't be read.
    """
    beside = path.with_suffix(".json")
    return ShownRun(label or path.stem, read_csv(path), read_record(beside) if beside.exists() else {})


def _named(runs: Any) -> dict[str, Source]:
    if isinstance(runs, (pd.DataFrame, str, Path)):
        runs = [runs]
    if not hasattr(runs, "items"):
        return label_runs(list(runs))
    return {str(label): source for label, source in runs.items()}


def label_runs(sources: Sequence[Source]) -> dict[str, Source]:
    """Return runs by what a legend calls them: the file's name, with its folder where two files share one.

    Args:
        sources: Tables or paths.

    Returns:
        As many, in their order.
    """
    paths = [Path(source) if isinstance(source, (str, Path)) else None for source in sources]
    stems = [path.stem if path else f"run {index}" for index, path in enumerate(paths, 1)]
    labels: dict[str, Source] = {}
    for stem, path, source in zip(stems, paths, sources, strict=True):
        label = stem if stems.count(stem) == 1 or path is None else str(path.with_suffix(""))
        while label in labels:
            label += " (again)"
        labels[label] = source
    return labels


def _load(label: str, source: Source, record: Mapping[str, Any] | None) -> ShownRun:
    if not isinstance(source, pd.DataFrame):
        return load_shown(Path(source), label)
    missing = [column for column in COLUMNS if column not in source]
    if missing:
        raise UsageError(f"{label} is not a table of sppkit: it has no column {missing[0]!r}.")
    if source.empty:
        raise UsageError(f"{label} has no rows: there is nothing to show.")
    kept = [name for name in source.columns if name != STEP]
    ordered = source[[STEP, *kept]] if STEP in source else source
    return ShownRun(label, ordered, record or {})
