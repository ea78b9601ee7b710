"""Where a record says that the code behind a block stands: file and line, for annotations."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sppkit.record.read import option_values
from sppkit.record.source_lines import relative_to_here

if TYPE_CHECKING:
    from collections.abc import Iterable


def locate_record(record: Mapping[str, Any], names: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Return what a run's record knows of where its blocks are written.

    ``sources`` in the record names each block's own class. A block that it does not know, as one that vanished, is
    found by the factory of a model that was given as ``path/file.py:factory``.
    """
    known = record.get("sources")
    told = known if isinstance(known, Mapping) else {}
    factory = _locate_factory(option_values(record).get("model"))
    found = {name: _as_place(told.get(name)) or factory for name in names}
    return {name: place for name, place in found.items() if place is not None}


def _as_place(value: object) -> tuple[str, int] | None:
    if isinstance(value, (list, tuple)) and len(value) == 2:
        file, line = value
        if isinstance(file, str) and file.isprintable() and isinstance(line, int) and line > 0:
            return file, line
    return None


def _locate_factory(model: object) -> tuple[str, int] | None:
    file, _, factory = str(model).rpartition(":")
    if not isinstance(model, str) or not file.endswith(".py"):
        return None
    try:
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None
    lines = [
        node.lineno for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == factory
    ]
    return (relative_to_here(file), lines[0] if lines else 1)
