"""The user's own code: ``package.module:factory`` and ``path/file.py:factory``. To load it is to run it."""

from __future__ import annotations

import difflib
import functools
import importlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from sppkit import registry
from sppkit.errors import UsageError
from sppkit.machine.user_code import callables, failed, import_file, importable
from sppkit.models.loading.factory import call_factory
from sppkit.models.loading.reference import LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

    from sppkit.models.loading.reference import Reference


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
        return import_file(Path(reference.place), option) if reference.is_file else _import_module(reference.place)


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
            registry.check_name(f"factory in {reference.place}:", part, callables(found))
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{reference.text} is of type {type(found).__name__}; a function or class is needed.")
    factory: Callable[..., object] = found
    return factory


@contextmanager
def _importable(reference: Reference) -> Iterator[None]:
    folder = (Path(reference.place).parent if reference.is_file else Path()).resolve()
    with importable(folder, alone=reference.is_file):
        yield
