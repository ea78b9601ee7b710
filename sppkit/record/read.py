"""Optional fields of a record: there with the right type, or missing.

A record may come from another version or another hand. What a sentence or a title needs from it is orientation, so that
a field of the wrong type is treated as a missing one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def mapping_at(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a mapping out of a record; an empty one where there is none."""
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}


def number_at(record: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number out of a record, or None.

    >>> number_at({"a": 2, "b": True, "c": "2"}, "a"), number_at({"b": True}, "b"), number_at({"c": "2"}, "c")
    (2.0, None, None)
    """
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON's integers know no limit
        return None
    return number if math.isfinite(number) else None


def text_at(record: Mapping[str, Any], key: str, default: str = "") -> str:
    """Return a text out of a record."""
    value = record.get(key)
    return value if isinstance(value, str) else default


def counts_at(record: Mapping[str, Any], key: str) -> list[int]:
    """Return a list of whole numbers out of a record; empty where it is none."""
    value = record.get(key)
    whole = isinstance(value, list) and all(isinstance(item, int) and not isinstance(item, bool) for item in value)
    return list(value or ()) if whole else []


def option_values(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run."""
    entries = mapping_at(record, "options")
    return {name: mapping_at(entries, name).get("value") for name in entries}
