"""The name of a cell: a digest of what decides its numbers."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sppkit.config.resolve import Resolved
from sppkit.streams import STREAM_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

# Where files go, and how weights are held: the same table, bit for bit.
_NO_NUMBERS = ("out", "name", "format", "streaming")
# Options that may name a file whose content decides.
_FILES = ("model", "checkpoint", "sites", "input")
_LENGTH = 20


def digest_of(what: Resolved | Mapping[str, Any]) -> str:
    """Return a digest that does not depend on the order of keys.

    >>> digest_of({"a": 1, "b": (2, 3)}) == digest_of({"b": [2, 3], "a": 1})
    True
    """
    content = _deciding(what) if isinstance(what, Resolved) else what
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def _deciding(resolved: Resolved) -> dict[str, Any]:
    values = {name: value for name, value in asdict(resolved.config).items() if name not in _NO_NUMBERS}
    if resolved.sources["warmup"] == "default":
        values["warmup"] = None  # a normalizer by running estimates has its own
    contents = {name: _content(str(values[name])) for name in _FILES if values[name] is not None}
    return {"options": values, "files": contents, "stream": STREAM_NAME}


def _content(named: str) -> str | None:
    for path in (Path(named), Path(named.split(":", maxsplit=1)[0])):
        if path.is_file():
            state = path.stat()
            return _file_digest(path, state.st_size, state.st_mtime_ns)
    return None


@functools.cache
def _file_digest(path: Path, _size: int, _modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
