"""Text that strangers wrote, made safe to show: no letter of it can command a terminal, a log or a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def printable(text: str, *, keep: str = "") -> str:
    r"""Return a text in which every letter that can't be seen stands as its escape.

    These are the control characters (escape sequences and line breaks among them, C1 too), those that turn the
    direction of writing, separators other than the space, halves of surrogate pairs, and what is not assigned.

    >>> printable("a\x1b[31mb\n"), printable("grün ×2"), printable("\u202e\x9b")
    ('a\\x1b[31mb\\n', 'grün ×2', '\\u202e\\x9b')
    """
    text = as_utf8(text)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter in keep else _escape(letter) for letter in text)


def as_utf8(text: str) -> str:
    r"""Return an argument or a file's name as it was typed.

    In a locale that knows ASCII only, Python keeps every other byte of it as half of a surrogate pair.

    >>> as_utf8("gr\udcc3\udcbcn"), as_utf8("gr\udcfcn") == "gr\udcfcn"
    ('grün', True)
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return text


def printable_values(value: Any) -> Any:
    r"""Return a value as JSON has them, with every text in it, keys too, made printable.

    >>> printable_values({"a\n": ("b\t", 1.0)})
    {'a\\n': ['b\\t', 1.0]}
    """
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable_values(key): printable_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable_values(item) for item in value]
    return value


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
