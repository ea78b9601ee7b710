"""What a test's baselines are called: no two tests, and no two asserts of one, share a file."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# A file system takes 255 bytes; the ending, a number and the digest need some.
_LONGEST = 180
_DIGITS = 8
# What of a test's id a file name can keep apart: dotted folders, classes, one pair of brackets.
_FOLDERS = re.compile(r"\w+(?:/\w+)*\.py")
_TEST = re.compile(r"\w+(?:::\w+)*(?:\[[\w.-]+\])?", re.ASCII)


def key_of(test: str, call: int) -> str:
    """Return what a baseline is called.

    >>> key_of("tests/test_net.py::TestNet::test_signal[64-relu]", 1), key_of("test_net.py::test_signal", 2)
    ('tests.test_net--TestNet--test_signal-64-relu', 'test_net--test_signal--2')
    """
    file, _, name = test.partition("::")
    parts = file.removesuffix(".py").replace("/", "."), *name.split("::")
    key = "--".join(re.sub(r"[^\w.-]+", "-", part, flags=re.ASCII).strip("-") for part in parts)
    if not (_FOLDERS.fullmatch(file) and _TEST.fullmatch(name)) or len(key) > _LONGEST:
        key = f"{key[:_LONGEST]}-{hashlib.sha256(test.encode()).hexdigest()[:_DIGITS]}"
    return key if call == 1 else f"{key}--{call}"


def choose(folder: Path, test: str, call: int, collected: Iterable[str]) -> Path:
    """Return a baseline's file.

    Baselines used to be called after the test alone. One from then is read as long as it can be no other test's.
    """
    path = folder / f"{key_of(test, call)}.json"
    former = folder / f"{_former(test)}.json"
    if call > 1 or path.exists() or not former.exists():
        return path
    return former if sum(_former(other) == _former(test) for other in collected) == 1 else path


def _former(test: str) -> str:
    return re.sub(r"[^\w.-]+", "-", test.partition("::")[2]).strip("-")
