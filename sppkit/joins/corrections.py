"""The user's corrections of what was found: which sums are joins, which side is the branch, and where channels are."""

from __future__ import annotations

import difflib
import fnmatch
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sppkit.errors import UsageError
from sppkit.joins.name import place
from sppkit.machine.files import read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sppkit.joins.joins import Findings, Join, Rejected, Value
    from sppkit.joins.observe import Observer

_HINT = "Give a TOML file of [[join]] tables, each with a name."


@dataclass(frozen=True)
class Correction:
    """One correction.

    Attributes:
        name: Name of a join as it was found, or a pattern of names: ``*`` stands for any letters, ``?`` for one.
        keep: False drops the join; True makes a join of a sum that was not taken for one.
        swap: The branch is the other side.
        branch: Path of the module whose output is the end of the branch, before its scale.
        channel_axis: Axis of the channels of the join's output, and of all else in it with as many axes.
    """

    name: str
    keep: bool | None = None
    swap: bool = False
    branch: str | None = None
    channel_axis: int | None = None


def load_corrections(source: object) -> tuple[Correction, ...]:
    """Read corrections."""
    if isinstance(source, str) and source == "found":
        return ()
    if isinstance(source, (str, Path)):
        return _parse(_load_toml(source), str(source))
    if isinstance(source, Mapping):
        return _parse(source, "sites")
    raise UsageError(f"sites must be 'found', the path of a TOML file, or a mapping, not {source!r}.")


def correct(findings: Findings, observer: Observer, corrections: Sequence[Correction]) -> Findings:
    """Apply corrections to what was found."""
    if not corrections:
        return findings
    joins = {join.name: join for join in findings.joins}
    rejected = {item.name: item for item in findings.rejected}
    kept: dict[str, Join] = {}
    for correction in corrections:
        for name in _matching(correction.name, [*joins, *kept, *rejected]):
            if name in rejected and correction.keep is not False:
                kept[name] = replace(rejected.pop(name).join, reason="the corrections say so")
            for group in (joins, kept):
                if name in group and correction.keep is False:
                    del group[name]
                elif name in group:
                    group[name] = _corrected(group[name], correction, observer)
    return _combined(findings, joins, kept, list(rejected.values()))


def _combined(
    findings: Findings, joins: Mapping[str, Join], kept: Mapping[str, Join], rejected: Sequence[Rejected]
) -> Findings:
    # A sum that is a join after all makes the modules' rows, or the concatenations', superfluous.
    found = [_parted(join, kept.values()) for join in joins.values()] if findings.kind == "addition" or not kept else []
    rows = tuple(sorted([*found, *kept.values()], key=lambda join: join.order))
    if not rows:
        raise UsageError("the corrections leave no join to measure.")
    return replace(findings, joins=rows, kind=rows[0].kind, rejected=tuple(rejected))


def _parted(join: Join, kept: Iterable[Join]) -> Join:
    """Return a join without the branches that a sum before it, a row of its own again, adds."""
    for earlier in kept:
        if earlier.scaled_branch in join.beside:
            after = join.beside[join.beside.index(earlier.scaled_branch) + 1 :]
            join = replace(join, beside=after, skip=earlier.output, input=earlier.output)
    return join


def _corrected(join: Join, correction: Correction, observer: Observer) -> Join:
    if correction.swap:
        other, swapped = join.scaled_branch, join.skip
        join = replace(join, skip=other, input=other, branch=swapped, scaled_branch=swapped, beside=())
    if correction.branch is not None:
        join = replace(join, branch=_output_of(correction.branch, join, observer), beside=())
    if correction.channel_axis is not None:
        join = _with_axis(join, correction.channel_axis)
    return join


def _output_of(path: str, join: Join, observer: Observer) -> Value:
    nodes = [node for node in observer.outputs.get(path, []) if node.number < join.order and node.key.call >= 0]
    if not nodes and path in observer.outputs:
        raise UsageError(f"{path!r} returns its signal only after the join {join.name!r}; a branch ends before it.")
    if not nodes:
        close = difflib.get_close_matches(path, observer.outputs, n=1, cutoff=0.5)
        match = f"; did you mean {close[0]!r}?" if close else "."
        raise UsageError(f"no module {path!r} has returned a signal before the join {join.name!r}{match}")
    value = place(nodes[-1])
    return replace(value, channel_axis=join.output.channel_axis) if value.shape == join.output.shape else value


def _with_axis(join: Join, axis: int) -> Join:
    rank = len(join.output.shape)
    if not 1 <= abs(axis) < rank:
        raise UsageError(
            f"channel_axis of {join.name!r} must be from 1 to {rank - 1}, or from -{rank - 1} to -1, not {axis}: its "
            f"output has the shape {join.output.shape}."
        )
    parts = {name: getattr(join, name) for name in ("output", "input", "skip", "branch", "scaled_branch")}
    beside = tuple(replace(value, channel_axis=axis) for value in join.beside)
    return replace(join, beside=beside, **{
        name: replace(value, channel_axis=axis)
        for name, value in parts.items()
        if value is not None and len(value.shape) == rank
    })  # fmt: skip


def _matching(pattern: str, names: Sequence[str]) -> list[str]:
    found = [name for name in names if name == pattern] or fnmatch.filter(names, pattern)
    if not found:
        close = difflib.get_close_matches(pattern, names, n=1, cutoff=0.4)
        match = f"; did you mean {close[0]!r}?" if close else "."
        raise UsageError(f"the corrections name a join {pattern!r}, which was not found{match}")
    return found


def _load_toml(path: str | Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path, "file of joins", _HINT))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None


# What each key must hold: the test and the words.
_KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (lambda value: isinstance(value, str) and bool(value), "the name of a join as sppkit inspect shows it"),
    "keep": (lambda value: isinstance(value, bool), "true or false"),
    "swap": (lambda value: isinstance(value, bool), "true or false"),
    "branch": (lambda value: isinstance(value, str), "the path of a module"),
    "channel_axis": (lambda value: type(value) is int and value != 0, "a whole number other than 0"),
}


def _parse(loaded: Mapping[str, Any], where: str) -> tuple[Correction, ...]:
    other = [key for key in loaded if key != "join"]
    tables = loaded.get("join", [])
    if other or not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        found = f"it holds {other[0]!r}" if other else "its join is no list of tables"
        raise UsageError(f"{where} is no list of corrections: {found}. {_HINT}")
    return tuple(_parse_table(table, f"{where}, join {number}") for number, table in enumerate(tables, 1))


def _parse_table(table: Mapping[str, Any], where: str) -> Correction:
    if "name" not in table:
        raise UsageError(f"{where}: it has no name. {_HINT}")
    for key, value in table.items():
        if key not in _KEYS:
            raise UsageError(f"{where}: unknown key {key!r}. Known: {', '.join(_KEYS)}.")
        is_legal, legal = _KEYS[key]
        if not is_legal(value):
            raise UsageError(f"{where}: {key} must be {legal}, not {value!r:.60}.")
    return Correction(**table)
