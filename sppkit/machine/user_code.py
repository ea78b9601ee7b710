"""Code of the user's own in a file: to import it is to run it, and what it raises is said in one line."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sppkit.errors import UsageError
from sppkit.machine.error_text import short_reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

# Under a name of its own: a file may be called types.py.
FILE_PREFIX = "_sppkit_file_"


def import_file(path: Path, flag: str) -> ModuleType:
    """Run a Python file and return its module."""
    if not path.is_file():
        raise UsageError(f"{flag} {path}: there is no such file.")
    name = FILE_PREFIX + path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{flag} {path}: this is no Python file.")
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs, as dataclasses need it.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a stranger's code raises
        del sys.modules[name]
        raise failed(str(path), "failed when it was imported", error) from error
    return module


def callables(holder: object) -> list[str]:
    """Return what code itself defines that can be called, else all that it could call."""
    public = {name: value for name, value in vars(holder).items() if not name.startswith("_") and callable(value)}
    home = getattr(holder, "__name__", "")
    own = [name for name, value in public.items() if getattr(value, "__module__", None) == home]
    return own or list(public) or ["(there is none)"]


@contextmanager
def importable(folder: Path, *, alone: bool) -> Iterator[None]:
    """Let the modules of a folder be imported; ``alone`` forgets those of the same names from other folders."""
    entry = str(folder)
    if alone:
        _forget_namesakes(folder)
    importlib.invalidate_caches()  # the code may just have been written
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def failed(name: str, how: str, error: BaseException) -> UsageError:
    """Say in one line what a stranger's code raised, and where."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not is_library(frame.filename)]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    fact = short_reason(error)
    return UsageError(f"{name} {how}: {type(error).__name__}{': ' if fact else ''}{fact}{place}")


def is_library(filename: str) -> bool:
    """Tell whether a file belongs to an installed package, to Python, or to sppkit, rather than to the user."""
    places = ("site-packages", "dist-packages", sysconfig.get_path("stdlib"), str(Path(__file__).parents[1]), "<frozen")
    return any(place in filename for place in places)


def _forget_namesakes(folder: Path) -> None:
    # Two versions of a network, each with a layers.py beside it: the second must not get the first one's.
    for place in (*folder.glob("[!_]*.py"), *folder.glob("[!_]*/__init__.py")):
        name = place.parent.name if place.stem == "__init__" else place.stem
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and not is_library(file) and not Path(file).is_relative_to(folder):
            for stale in [module for module in sys.modules if f"{module}.".startswith(f"{name}.")]:
                del sys.modules[stale]
