"""Where the code behind a block stands: file and line of the user's class, for reports that point into it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sppkit.machine.user_code import is_library

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    Place = tuple[str, int]

# What discovery puts after a module's path: its second call, the second join in it, a sum that is no join.
_SUFFIX = re.compile(r"(@\d+)?([#~]\d+)?$")


def locate_blocks(model: Any, names: Iterable[str], *, own: bool = False) -> dict[str, Place]:
    """Return where the classes behind the rows of a table are written.

    A row is named after the module that it happens in. Where that is one of torch's, the class that holds it is the
    one that its author can change; the network's own class stands for a name that is no module's.
    """
    modules = dict(model.named_modules())
    known: dict[type, Place | None] = {}
    found = {name: _choose(_iter_places(modules, name, known), own=own) for name in names}
    return {name: place for name, place in found.items() if place is not None}


def name_classes(model: Any, names: Iterable[str]) -> dict[str, str]:
    """Return the class of the module that each row of a table is named after, where it is one's."""
    modules = dict(model.named_modules())
    paths = {name: _SUFFIX.sub("", name) for name in names}
    return {name: type(modules[path]).__qualname__ for name, path in paths.items() if path in modules}


def relative_to_here(file: str) -> str:
    """Return a path as a report shows it."""
    path = Path(file).resolve()
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(file)


def _iter_places(modules: Mapping[str, Any], name: str, known: dict[type, Place | None]) -> Iterator[Place]:
    path = _SUFFIX.sub("", name)
    while True:
        if path in modules:
            kind = type(modules[path])
            if kind not in known:
                known[kind] = _written(kind)
            place = known[kind]
            if place is not None:
                yield place
        if not path:
            return
        path = path.rpartition(".")[0]


def _choose(places: Iterator[Place], *, own: bool) -> Place | None:
    every = list(places)
    users = next((place for place in every if not is_library(str(Path(place[0]).resolve()))), None)
    return users if users is not None or own or not every else every[0]


def _written(kind: type) -> Place | None:
    try:
        file, line = inspect.getsourcefile(kind), inspect.getsourcelines(kind)[1]
    except (OSError, TypeError):  # a class without a file
        return None
    return None if not file else (relative_to_here(file), max(1, line))
