"""A baseline: an accepted run as a small, sorted, human-readable file that belongs into version control.

One line per block, one number per seed, and everything that makes two runs comparable.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pandas as pd

from sppkit.curves.curves import Curves
from sppkit.errors import UsageError
from sppkit.machine.files import read_text, replacing
from sppkit.machine.printable import as_utf8, printable_values
from sppkit.record.read import mapping_at
from sppkit.record.table import COLUMNS, STATISTIC_COLUMNS, build_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMA = 1
FOLDER = Path(".sppkit") / "baselines"
# A network of a million blocks is no baseline of anyone's; reading more would only fill the memory.
_MOST_BYTES = 64 * 2**20
_MOST_BLOCKS = 100_000
_MOST_SEEDS = 10_000
_LARGEST_INTEGER = 2**63
_PLACES = ("block", "stage", "channels", "height", "width")
# What of a record makes runs comparable, or explains their difference; the rest (wall time, parameters) may change.
_KEPT = ("arch", "checkpoint", "device", "dtype", "input", "mode", "network", "options", "output", "random_stream",
         "seeds", "threads", "versions", "warmup")  # fmt: skip
# One line for each tensor.
_WEIGHTS = "weights"
_HINT = "Restore it from version control, or accept a run anew: sppkit bless RUN.csv --reason TEXT"
_ELSEWHERE = "Choose another place with --baseline."
_CONFLICT = re.compile(r"^(<{7}|={7}|>{7})", re.MULTILINE)


@dataclass(frozen=True)
class Baseline:
    """An accepted run.

    Attributes:
        key: What it is called, and its file without the ending.
        table: The run's table.
        record: What of its record makes runs comparable.
        accepted: Why, when and at which commit it was accepted.
    """

    key: str
    table: pd.DataFrame
    record: Mapping[str, Any]
    accepted: Mapping[str, str]


def baseline_path(key: str, folder: Path = FOLDER) -> Path:
    """Return where a baseline lies."""
    if not key or key in {".", ".."} or "/" in key or "\\" in key or not as_utf8(key).isprintable():
        raise UsageError(f"a baseline's name must be a file name, not {key!r:.60}.")
    return folder / f"{key}.json"


def write_baseline(
    key: str, table: pd.DataFrame, record: Mapping[str, Any], path: Path, *, reason: str, commit: str = ""
) -> None:
    """Write a run as a baseline; whole or not at all."""
    text = render_baseline(key, table, record, reason=reason, commit=commit)
    with replacing(path, _ELSEWHERE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def render_baseline(key: str, table: pd.DataFrame, record: Mapping[str, Any], *, reason: str, commit: str = "") -> str:
    """Return a baseline's text: sorted keys, one line per block."""
    signal = Curves(table, record)
    if signal.nonfinite.any():
        raise UsageError(f"{key} holds values that are not finite, and can be no baseline. Repair the network first.")
    accepted = {"commit": commit, "date": dt.datetime.now(tz=dt.UTC).date().isoformat(), "reason": reason}
    head = {
        "accepted": {name: text for name, text in accepted.items() if text},
        "key": as_utf8(key),
        "run": {name: record[name] for name in _KEPT if name in record},
        "schema": SCHEMA,
        "seeds": signal.seeds,
    }
    weights = mapping_at(record, _WEIGHTS)
    body = json.dumps({"blocks": [], **head, **({_WEIGHTS: {}} if weights else {})}, indent=1, sort_keys=True)
    tensors = [f"{_line(name)}: {_line(digests)}" for name, digests in weights.items()]
    body = body.replace(f'"{_WEIGHTS}": {{}}', f'"{_WEIGHTS}": {{\n  ' + ",\n  ".join(tensors) + "\n }", 1)
    blocks = ",\n  ".join(map(_line, _iter_blocks(signal)))
    return body.replace('"blocks": []', f'"blocks": [\n  {blocks}\n ]', 1) + "\n"


def read_baseline(path: str | Path) -> Baseline:
    """Read a baseline, whoever wrote it."""
    _check_size(Path(path))
    text = read_text(path, "baseline", _HINT)
    if _CONFLICT.search(text):
        raise UsageError(f"the baseline {path} holds the marks of a merge conflict. Resolve it, or {_lower(_HINT)}")
    found = _parse(text, path)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA or isinstance(found.get("schema"), bool):
        shown = found.get("schema") if isinstance(found, dict) else type(found).__name__
        raise UsageError(f"{path} is not a baseline of schema {SCHEMA} (found {shown!r:.60}). {_HINT}")
    try:
        return _build(found)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the baseline {path} makes no sense: {error}. {_HINT}") from None


def _line(value: object) -> str:
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _iter_blocks(signal: Curves) -> Iterator[dict[str, Any]]:
    columns = {name: signal.values(name) for name in (*signal.statistics, *signal.gradients)}
    for place, row in enumerate(signal.rows.to_dict("records")):
        block: dict[str, Any] = {"name": str(row["name"])}
        block |= {name: int(row[name]) for name in _PLACES if not pd.isna(row[name])}
        measured = {name: values[:, place] for name, values in columns.items()}
        # Nine significant digits, as the table has.
        yield block | {
            name: [float(f"{value:.9g}") for value in values]
            for name, values in measured.items()
            if all(map(math.isfinite, values))
        }


def _check_size(path: Path) -> None:
    try:
        size = path.stat().st_size
    except (OSError, ValueError):
        return  # reading it says more
    if size > _MOST_BYTES:
        raise UsageError(
            f"the baseline {path} has {size / 2**20:.0f} MiB; {_MOST_BYTES // 2**20} are the most. {_HINT}"
        )


def _parse(text: str, path: str | Path) -> object:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise UsageError(f"the baseline {path} is not valid JSON: {error}. {_HINT}") from None
    except (ValueError, RecursionError):  # integers of thousands of digits, nan, a thousand brackets
        raise UsageError(
            f"the baseline {path} makes no sense: a number or a nesting in it has no end, or is not finite. {_HINT}"
        ) from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _build(found: Mapping[str, Any]) -> Baseline:
    seeds, blocks, record, accepted = (found.get(name) for name in ("seeds", "blocks", "run", "accepted"))
    seeds = _require(seeds, list, "seeds must be a list of whole numbers")
    blocks = _require(blocks, list, "blocks must be a list")
    _check(1 <= len(seeds) <= _MOST_SEEDS, f"there must be 1 to {_MOST_SEEDS} seeds")
    _check(1 <= len(blocks) <= _MOST_BLOCKS, f"there must be 1 to {_MOST_BLOCKS} blocks")
    for seed in seeds:
        _check_whole(seed, "a seed")
    parsed = [_parse_block(block, len(seeds)) for block in blocks]
    _check(len(set(seeds)) == len(seeds), "a seed is listed twice")
    _check(len({block["block"] for block in parsed}) == len(parsed), "two blocks have the same number")
    texts = _require({} if accepted is None else accepted, dict, "accepted must be an object")
    weights = _require(found.get(_WEIGHTS, {}), dict, "weights must be an object")
    return Baseline(
        key=_printable(found.get("key", ""), "key"),
        table=build_table([_row(block, seed, place) for place, seed in enumerate(seeds) for block in parsed]),
        record=printable_values(_require({} if record is None else record, dict, "run must be an object"))
        | ({"seeds": seeds, _WEIGHTS: printable_values(weights)} if weights else {}),
        accepted={name: _printable(text, name) for name, text in texts.items()},
    )


def _parse_block(found: object, seeds: int) -> dict[str, Any]:
    block: dict[str, Any] = _require(found, dict, "a block must be an object")
    name = _printable(block.get("name"), "a block's name")
    _check(bool(name) and "block" in block, "a block must have a name and a number")
    for key, value in block.items():
        if key in _PLACES:
            _check_whole(value, f"{key} of {name}")
        elif key != "name":
            _check_values(value, seeds, f"{_printable(key, 'a statistic')} of {name}")
    return block


def _require(value: Any, kind: type, message: str) -> Any:
    _check(isinstance(value, kind), message)
    return value


def _check(is_right: bool, message: str) -> None:
    if not is_right:
        raise ValueError(message)


def _check_values(value: object, seeds: int, where: str) -> None:
    if not isinstance(value, list) or len(value) != seeds or not all(map(_is_square, value)):
        raise ValueError(f"{where} must be one finite number of at least 0 for each of the {seeds} seeds")


def _is_square(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(float(value)) and value >= 0
    except OverflowError:
        return False


def _check_whole(value: object, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LARGEST_INTEGER:
        raise ValueError(f"{where} must be a whole number from 0 to 2^63 - 1")


def _printable(value: object, where: str) -> str:
    # A control character could command the terminal that shows it.
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{where} must be a text without control characters")
    return value


def _row(block: Mapping[str, Any], seed: int, place: int) -> dict[str, Any]:
    values = {key: value[place] for key, value in block.items() if isinstance(value, list)}
    places = {key: block[key] for key in ("name", *_PLACES) if key in block}
    order = [name for name in COLUMNS if name in places or name in STATISTIC_COLUMNS]
    return dict.fromkeys(order) | {"stage": 0} | places | values | {"seed": seed, "nonfinite": 0}


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
