"""Libraries that sppkit can do without: imported when a model of theirs is asked for."""

from __future__ import annotations

import importlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sppkit.errors import UsageError
from sppkit.machine.error_text import short_reason

if TYPE_CHECKING:
    from collections.abc import Iterator

_OFFLINE = "HF_HUB_OFFLINE"

# torch and torchvision are built for each other: both of a release, and both for the same kind of machine.
_PAIR = "\nA torchvision that fits this torch is needed: pip install --upgrade torch torchvision, both from one index."


def import_optional(package: str, asked_for: str) -> Any:
    """Import a library that may be missing, or there but broken."""
    try:
        with _offline():
            return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package:
            raise UsageError(f"{asked_for} needs {package}, which is not installed: pip install {package}") from None
        raise UsageError(broken(package, asked_for, error)) from error
    except Exception as error:  # a broken build raises RuntimeError, OSError or AttributeError
        raise UsageError(broken(package, asked_for, error)) from error


def broken(package: str, asked_for: str, error: BaseException) -> str:
    """Say that a library is there but can't be imported."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{asked_for} needs {package}, which is installed but lacks {error.name}: pip install {error.name}"
    fact = short_reason(error)
    advice = _PAIR if "torchvision" in f"{package} {fact}" else f"\nInstall it anew: pip install --upgrade {package}"
    return f"{asked_for} needs {package}, which is installed but can't be imported ({fact}).{advice}"


@contextmanager
def _offline() -> Iterator[None]:
    # The hub's client reads it when it is first imported, and from then on refuses to download.
    before = os.environ.get(_OFFLINE)
    os.environ[_OFFLINE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_OFFLINE]
        else:
            os.environ[_OFFLINE] = before
