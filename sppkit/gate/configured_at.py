"""The line of a TOML file at which a run is asked for: where a report points if no code of the user's is known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sppkit.record.source_lines import relative_to_here

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_HEADER = re.compile(r"\s*\[{1,2}\s*([\w.\-\s\"']+?)\s*\]{1,2}\s*(#.*)?")
_NETWORK = re.compile(r"\s*(arch|model)\s*=")
# What heads the shared options, and one of several runs.
_TABLES = {"pyproject.toml": ("tool.sppkit", "tool.sppkit.run")}
_OTHERWISE = ("", "run")


def configured_at(file: Path, index: int) -> tuple[str, int]:
    """Return where a run is configured: where its network is named, else where its table begins."""
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    shared, run = _TABLES.get(file.name, _OTHERWISE)
    runs = [part for name, part in _iter_tables(lines) if name == run]
    parts = runs[index : index + 1] + [part for name, part in _iter_tables(lines) if name == shared]
    named = [line for part in parts for line in part if _NETWORK.match(lines[line - 1])]
    begins = [part.start for part in parts]
    return relative_to_here(str(file)), (named or begins or [1])[0]


def _iter_tables(lines: Sequence[str]) -> Iterator[tuple[str, range]]:
    """Yield each table's name and lines, numbered from 1, its header first."""
    name, start = "", 1
    for number, line in enumerate(lines, 1):
        header = _HEADER.fullmatch(line)
        if header:
            yield name, range(start, number)
            name, start = re.sub(r"[\s\"']", "", header[1]), number
    yield name, range(start, len(lines) + 1)
