"""Where the code behind a block stands: file and line, for annotations."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sppkit.fields import option_values

if TYPE_CHECKING:
    from collections.abc import Iterable


def locate_modules(model: Any, names: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Return where the classes of a model's modules are written.

    Args:
        model: An ``nn.Module``.
        names: Qualified names of modules; others are left out.

    Returns:
        File, relative to the current folder where it is inside it, and line, by name.
    """
    modules = dict(model.named_modules())
    places = {}
    for name in names:
        try:
            kind = type(modules[name])
            places[name] = (_relative(inspect.getsourcefile(kind) or ""), inspect.getsourcelines(kind)[1])
        except (KeyError, OSError, TypeError):  # no module of that name, or a class without a file
            continue
    return {name: place for name, place in places.items() if place[0]}


def locate_record(record: Mapping[str, Any], names: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Return what a run's record knows of where its blocks are written.

    ``sources`` in the record names each block's own class. Without it a model given as ``path/file.py:factory`` is
    found by its factory.

    Args:
        record: The run's record.
        names: Names of blocks.

    Returns:
        File and line, by name.
    """
    known = record.get("sources")
    if isinstance(known, Mapping):
        return {name: place for name in names if (place := _as_place(known.get(name))) is not None}
    place = _locate_factory(option_values(record).get("model"))
    return {} if place is None else dict.fromkeys(names, place)


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
    return (_relative(file), lines[0] if lines else 1)


def _relative(file: str) -> str:
    path = Path(file).resolve()
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(file)
