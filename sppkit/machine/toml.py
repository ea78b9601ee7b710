"""TOML files that strangers wrote."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from sppkit.errors import UsageError
from sppkit.machine.files import read_text

if TYPE_CHECKING:
    from pathlib import Path


def read_toml(path: Path, what: str, hint: str) -> dict[str, Any]:
    """Read a TOML file."""
    text = read_text(path, what, hint)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    except (ValueError, RecursionError):  # integers of thousands of digits, a thousand brackets
        raise UsageError(f"{path} is not valid TOML: a number or a nesting in it has no end.") from None
