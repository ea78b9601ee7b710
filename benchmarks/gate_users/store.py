"""Measured tables, kept in a local folder, so that judging can be tried again without measuring."""

from __future__ import annotations

import ast
import hashlib
import pickle
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

HERE = Path(__file__).parent
FOLDER = HERE / "cache"
Kept = TypeVar("Kept")


@cache
def source_digest() -> str:
    """Return what the networks, the faults and truth are now: another digest, another folder."""
    files = sorted([*HERE.glob("networks/*.py"), *HERE.glob("faults/*.py"), HERE / "truth.py"])
    # Of the code as it is parsed: comments and line breaks change no number.
    parsed = "".join(ast.dump(ast.parse(file.read_bytes())) for file in files)
    return hashlib.sha256(parsed.encode()).hexdigest()[:12]


def kept(key: str, make: Callable[[], Kept], *, fresh: bool = False) -> Kept:
    """Return what was made before under a key, or make it."""
    path = FOLDER / source_digest() / (re.sub(r"[^\w.+-]+", "-", key) + ".pickle")
    if path.exists() and not fresh:
        return pickle.loads(path.read_bytes())  # type: ignore[no-any-return]
    value = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value))
    return value
