"""The user's own code: ``package.module:factory`` and ``path/file.py:factory``. To load it is to run it."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.util
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from sppkit import registry
from sppkit.errors import UsageError
from sppkit.models.loading.factory import call_factory, failed
from sppkit.models.loading.reference import LIBRARIES
from sppkit.record.source_lines import is_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

    from sppkit.models.loading.reference import Reference


# Under a name of its own: a file may be called types.py.
FILE_PREFIX = "_sppkit_file_"


def own_factory(reference: Reference, kw: Mapping[str, Any]) -> Callable[[], nn.Module]:
    """Import the user's code and return what makes the network.

    Modules are found as ``python -m`` finds them, from the current folder on; a file finds its neighbours as a script
    does.
    """
    factory = _find(_import(reference, "--model"), reference)
    if isinstance(factory, nn.Module):
        raise UsageError(
            f"{reference.text} is a network; a function that makes one is needed, so that each seed has its own.\n"
            f"Write, for instance: def build(): return {type(factory).__name__}(...)"
        )

    def make() -> nn.Module:
        with _importable(reference):  # the factory may import more
            return call_factory(factory, kw, reference.text)

    return make


def own_function(reference: Reference, option: str) -> Callable[..., object]:
    """Import the user's code and return a function of it, for what an option names."""
    function = _find(_import(reference, option), reference)

    def call(*arguments: object, **keywords: object) -> object:
        with _importable(reference):
            return function(*arguments, **keywords)

    return functools.wraps(function)(call)


def _import(reference: Reference, option: str) -> ModuleType:
    with _importable(reference):
        return _import_file(Path(reference.place), option) if reference.is_file else _import_module(reference.place)


def _import_file(path: Path, option: str) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"{option} {path}: there is no such file.")
    name = FILE_PREFIX + path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{option} {path}: this is no Python file.")
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs, as dataclasses need it.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a stranger's code raises
        del sys.modules[name]
        raise failed(str(path), "failed when it was imported", error) from error
    return module


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever a stranger's code raises
        # The module itself or one of its parents is not there, rather than something that it imports.
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            close = difflib.get_close_matches(name, LIBRARIES, n=1)
            match = f"Did you mean {close[0]}:NAME? A" if close else "A"
            raise UsageError(
                f"there is no module {error.name!r} to import, neither installed nor in this folder.\n"
                f"{match} file is given by its path: --model path/file.py:factory"
            ) from None
        raise failed(f"the module {name}", "failed when it was imported", error) from error


def _find(module: ModuleType, reference: Reference) -> Callable[..., object]:
    found: Any = module
    for part in reference.factory.split("."):
        if not hasattr(found, part):
            registry.check_name(f"factory in {reference.place}:", part, _callables(found))
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{reference.text} is of type {type(found).__name__}; a function or class is needed.")
    factory: Callable[..., object] = found
    return factory


def _callables(holder: object) -> list[str]:
    # What the code itself defines, else all that it could call.
    public = {name: value for name, value in vars(holder).items() if not name.startswith("_") and callable(value)}
    home = getattr(holder, "__name__", "")
    own = [name for name, value in public.items() if getattr(value, "__module__", None) == home]
    return own or list(public) or ["(there is none)"]


@contextmanager
def _importable(reference: Reference) -> Iterator[None]:
    folder = (Path(reference.place).parent if reference.is_file else Path()).resolve()
    entry = str(folder)
    if reference.is_file:
        _forget_namesakes(folder)
    importlib.invalidate_caches()  # the code may just have been written
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        if entry in sys.path:
            sys.path.remove(entry)


def _forget_namesakes(folder: Path) -> None:
    # Two versions of a network, each with a layers.py beside it: the second must not get the first one's.
    for place in (*folder.glob("[!_]*.py"), *folder.glob("[!_]*/__init__.py")):
        name = place.parent.name if place.stem == "__init__" else place.stem
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and not is_library(file) and not Path(file).is_relative_to(folder):
            for stale in [module for module in sys.modules if f"{module}.".startswith(f"{name}.")]:
                del sys.modules[stale]
