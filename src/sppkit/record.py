"""The record of a run: everything needed to understand, repeat or compare it, as JSON beside its table."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from sppkit.errors import UsageError
from sppkit.files import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMA = 1


def versions() -> dict[str, str]:
    """Return the versions that can change a number: Python, sppkit, torch and NumPy.

    Returns:
        Package name to version; a package that is not installed is left out.
    """
    found = {"python": platform.python_version()}
    for package in ("sppkit", "torch", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write_record(record: Mapping[str, Any], path: Path) -> None:
    """Write a record as indented JSON; whole or not at all.

    Args:
        record: JSON-ready values; ``schema`` is added.
        path: The file to create or replace.
    """
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps({"schema": SCHEMA, **record}, indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )


def read_record(path: Path) -> dict[str, Any]:
    """Read a record written by ``write_record``.

    Args:
        path: The JSON file.

    Returns:
        The record.

    Raises:
        UsageError: If the file is missing, is not JSON, or has another schema.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} can't be read as the record of a run: {error}") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise UsageError(f"{path} is not a record of schema {SCHEMA} (found {found!r}). Measure the run again.")
    return record
