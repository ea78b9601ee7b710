"""Where a report points to: file and line as seen from the repository, which is how its readers name files."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sppkit.gate.verdict import Verdict


def place_of(verdict: Verdict, name: str) -> tuple[str, int] | None:
    """Return where a block comes from: the code behind it, or else the configuration that asked for the network."""
    found = verdict.places.get(name, verdict.configured)
    return None if found is None else (_in_repository(found[0]), found[1])


def any_place_of(verdict: Verdict, name: str) -> tuple[str, int]:
    """Return where a block comes from, for a reader that wants a file even where none is known."""
    return place_of(verdict, name) or (_in_repository(f".sppkit/baselines/{verdict.name or 'run'}.json"), 1)


def _in_repository(file: str) -> str:
    return _seen_from_root(Path.cwd(), file)


@cache  # a report of many blocks names few files
def _seen_from_root(here: Path, file: str) -> str:
    root = next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)
    path = Path(os.path.abspath(here / file))  # noqa: PTH100 - a link into the repository is named as it is there
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
