"""A grid of runs from a TOML file: shared options, axes, and what is left out."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sppkit.comparison.sweep.digest import digest_of
from sppkit.config.options import RunConfig, parse_values
from sppkit.config.resolve import Resolved, load_toml, resolve_config
from sppkit.errors import UsageError
from sppkit.models.check_options import check_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

# Where files go is the sweep's own affair, and no property of a cell.
OUTPUT_OPTIONS = ("out", "name", "format")
_AXES, _EXCLUDE = "axes", "exclude"
_KEYWORD = "kw."
MOST_CELLS = 100_000
_SHOWN = 5
_HINT = "Axes are lists of an option's values: [axes] and below it depth = [26, 50]."


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        place: Its value on every axis, as text.
        resolved: Its options.
        digest: The name of its files.
    """

    place: dict[str, str]
    resolved: Resolved
    digest: str

    @property
    def label(self) -> str:
        """What a message calls it."""
        return ", ".join(f"{axis}={value}" for axis, value in self.place.items())


@dataclass(frozen=True)
class Grid:
    """The cells of a sweep, the last axis varying fastest.

    Attributes:
        axes: Names of the axes.
        cells: What is to be measured.
        output: The options of the file that say where files go.
        identity: Digest of the shared options and the axes' names: what may share a folder.
    """

    axes: tuple[str, ...]
    cells: tuple[Cell, ...]
    output: dict[str, Any]
    identity: str


def read_grid(file: Path) -> Grid:
    """Read a sweep's file and resolve every cell; what can't be measured is said before anything is."""
    content = load_toml(file)
    try:
        return _build(content)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None


def _build(content: dict[str, Any]) -> Grid:
    axes = _read_axes(content.pop(_AXES, None))
    excluded = _read_excluded(content.pop(_EXCLUDE, []), axes)
    base = parse_values(RunConfig, content)
    if "name" in base:
        raise UsageError("name means nothing in a sweep: each cell is called by a digest of its options.")
    twice = sorted(base.keys() & axes.keys())
    if twice:
        raise UsageError(f"{twice[0]} is given as an option and as an axis. Keep one of the two.")
    output = {name: base.pop(name) for name in OUTPUT_OPTIONS if name in base}
    _check_size(axes)
    places = [
        place for place in _iter_places(axes) if not any(rule.items() <= _texts(place).items() for rule in excluded)
    ]
    if not places:
        raise UsageError("every cell is excluded: there is nothing to measure. Take a table [[exclude]] out.")
    shared = {name: content[name] for name in base}
    cells = _resolve(shared, places)
    return Grid(tuple(axes), cells, output, digest_of({"options": _texts(base), "axes": sorted(axes)}))


def _read_axes(given: object) -> dict[str, list[Any]]:
    if not isinstance(given, dict) or not given:
        raise UsageError(f"a sweep needs axes. {_HINT}")
    axes: dict[str, list[Any]] = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        keywords = value if name == "kw" and isinstance(value, dict) else None
        for axis, values in {name: value}.items() if keywords is None else _prefixed(keywords).items():
            if axis in axes:
                raise UsageError(f"the axis {axis} is given twice. Keep one of the two.")
            axes[axis] = _read_axis(axis, values)
    return axes


def _prefixed(keywords: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{_KEYWORD}{key}": values for key, values in keywords.items()}


def _read_axis(axis: str, values: object) -> list[Any]:
    if axis in OUTPUT_OPTIONS:
        raise UsageError(f"{axis} is no axis: it says where files go, not what is measured.")
    if not isinstance(values, list):
        raise UsageError(f"the axis {axis} must be a list of values, not {values!r:.60}. {_HINT}")
    if not values:
        raise UsageError(f"the axis {axis} is empty: give it values, or take it out.")
    seen: set[str] = set()
    for value in values:
        parsed = parse_values(RunConfig, _as_options({axis: value}))
        text = repr(parsed)
        if text in seen:
            raise UsageError(f"the axis {axis} has {_text(value)} twice. Keep one of the two.")
        seen.add(text)
    return values


def _read_excluded(given: object, axes: Mapping[str, Sequence[Any]]) -> list[dict[str, str]]:
    if not isinstance(given, list) or not all(isinstance(rule, dict) and rule for rule in given):
        raise UsageError("exclude must be tables [[exclude]] of axis = value.")
    rules = []
    for rule in given:
        flat: dict[str, str] = {}
        for key, value in rule.items():
            nested = key == "kw" and isinstance(value, dict) and "kw" not in axes
            flat |= _texts(_prefixed(value) if nested else {key.replace("-", "_"): value})
        for axis, text in flat.items():
            if axis not in axes:
                raise UsageError(f"exclude names {axis}, which is no axis. Axes: {', '.join(axes)}.")
            if text not in map(_text, axes[axis]):
                legal = ", ".join(map(_text, axes[axis]))
                raise UsageError(f"exclude names {axis} = {text}, which the axis does not have. It has: {legal}.")
        rules.append(flat)
    return rules


def _check_size(axes: Mapping[str, Sequence[Any]]) -> None:
    count = 1
    for values in axes.values():
        count *= len(values)
    if count > MOST_CELLS:
        raise UsageError(f"the axes have {count} cells; at most {MOST_CELLS} are a sweep. Take values out.")


def _iter_places(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _resolve(shared: Mapping[str, Any], places: Sequence[Mapping[str, Any]]) -> tuple[Cell, ...]:
    cells: dict[str, Cell] = {}
    refused: list[str] = []
    for place in places:
        texts = _texts(place)
        try:
            resolved = resolve_config(_merged(shared, place))
            check_options(resolved)
        except UsageError as error:
            refused.append(f"{', '.join(f'{axis}={text}' for axis, text in texts.items())}: {error}")
            continue
        cell = Cell(texts, resolved, digest_of(resolved))
        if cell.digest in cells:
            raise UsageError(f"two cells are the same run: {cells[cell.digest].label} and {cell.label}.")
        cells[cell.digest] = cell
    if refused:
        shown = "\n".join(f"  {line.splitlines()[0]}" for line in refused[:_SHOWN])
        more = f"\n  and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
        raise UsageError(
            f"{len(refused)} of {len(places)} cells can't be measured; nothing was.\n{shown}{more}\n"
            "Leave them out by a table [[exclude]], or change the options."
        )
    return tuple(cells.values())


def _merged(shared: Mapping[str, Any], place: Mapping[str, Any]) -> dict[str, Any]:
    options = _as_options(place)
    if "kw" in options and "kw" not in place and "kw" in shared:
        options["kw"] = {**parse_values(RunConfig, {"kw": shared["kw"]})["kw"], **options["kw"]}
    return {**shared, **options}


def _as_options(place: Mapping[str, Any]) -> dict[str, Any]:
    options = {axis: value for axis, value in place.items() if not axis.startswith(_KEYWORD)}
    keywords = {axis.removeprefix(_KEYWORD): value for axis, value in place.items() if axis.startswith(_KEYWORD)}
    if keywords:
        options["kw"] = keywords
    return options


def _texts(place: Mapping[str, Any]) -> dict[str, str]:
    return {axis: _text(value) for axis, value in place.items()}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ",".join(f"{key}={_text(item)}" for key, item in sorted(value.items()))
    return ",".join(map(_text, value)) if isinstance(value, (list, tuple)) else str(value)
