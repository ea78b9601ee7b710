"""The record of a run: everything needed to understand, repeat or compare it, as JSON beside its table."""

from __future__ import annotations

import json
import math
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NoReturn

from sppkit.errors import UsageError
from sppkit.machine.files import read_text, replacing
from sppkit.machine.printable import printable_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

SCHEMA = 1
_HINT = "Move it away to go on without it, or measure the run again."


def versions() -> dict[str, str]:
    """Return the versions that can change a number: Python, sppkit, torch and NumPy."""
    found = {"python": platform.python_version()}
    for package in ("sppkit", "torch", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write_record(record: Mapping[str, Any], path: Path) -> None:
    """Write a record as indented JSON; whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps({"schema": SCHEMA, **record}, indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )


def read_record(path: str | Path) -> dict[str, Any]:
    """Read a record written by ``write_record``, and check the fields that are read later."""
    try:
        record = json.loads(read_text(path, "record", _HINT), parse_constant=_refuse_constant)
    except UsageError:
        raise
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is not valid JSON: {error}. {_HINT}") from None
    except (ValueError, RecursionError):  # integers of thousands of digits, nan, a thousand brackets
        raise UsageError(
            f"{path} is not the record of a run: a number or a nesting in it has no end. {_HINT}"
        ) from None
    if not isinstance(record, dict) or not _is_schema(record.get("schema")):
        found = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise UsageError(f"{path} is not a record of schema {SCHEMA} (found {found!r:.60}). {_HINT}")
    for wrong in _iter_wrong_fields(record):
        raise UsageError(f"{path} is not the record of a run: {wrong}. {_HINT}")
    return {str(key): value for key, value in printable_values(record).items()}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _is_schema(value: object) -> bool:
    return _is_whole(value) and value == SCHEMA


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_whole(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_whole, value))


def _is_number_or_none(value: object) -> bool:
    return value is None or _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _is_text(value: object) -> bool:
    # A control character could command the terminal that shows it.
    return isinstance(value, str) and value.isprintable()


def _is_text_or_none(value: object) -> bool:
    return value is None or _is_text(value)


def _are_options(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(item, dict) and "value" in item and _is_text(item.get("source")) for item in value.values()
    )


def _is_truth(value: object) -> bool:
    return isinstance(value, bool)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


# The fields that titles, summaries and comparisons read, each behind the object that holds it.
_FIELDS: dict[tuple[str, ...], tuple[Callable[[object], bool], str]] = {
    ("arch",): (_is_text, "a text"),
    ("mode",): (_is_text, "a text"),
    ("dtype",): (_is_text, "a text"),
    ("seeds",): (_are_whole, "a list of whole numbers"),
    ("options",): (_are_options, "an object of {value, source} objects"),
    ("model",): (_is_object, "an object"),
    ("model", "spec"): (_is_text, "a text"),
    ("model", "library"): (_is_text_or_none, "a text or null"),
    ("model", "kw"): (_is_object, "an object"),
    ("model", "parameters"): (_is_whole, "a whole number"),
    ("model", "input_from"): (_is_text, "a text"),
    ("found",): (_is_text_or_none, "a text or null"),
    ("sources",): (_is_object, "an object"),
    ("network",): (_is_object, "an object"),
    ("network", "stages"): (_are_whole, "a list of whole numbers"),
    ("network", "parameters"): (_is_whole, "a whole number"),
    ("network", "block"): (_is_text, "a text"),
    ("network", "padding"): (_is_text, "a text"),
    ("network", "scaled"): (_is_truth, "true or false"),
    ("input",): (_is_object, "an object"),
    ("input", "kind"): (_is_text, "a text"),
    ("input", "batch_shape"): (_are_whole, "a list of whole numbers"),
    ("input", "batches"): (_is_whole, "a whole number"),
    ("expected",): (_is_object, "an object"),
    ("expected", "residual_variance"): (_is_number_or_none, "a finite number or null"),
}


def _iter_wrong_fields(record: Mapping[str, Any]) -> Iterator[str]:
    for keys, (is_right, what) in _FIELDS.items():
        holder: Any = record
        for key in keys[:-1]:
            holder = holder.get(key, {})
        if keys[-1] in holder and not is_right(holder[keys[-1]]):
            yield f"{'.'.join(keys)} must be {what}"
