"""Measuring the networks of a comparison one after the other, and reading the saved ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sppkit.errors import DoesNotFitError, MeasurementError, UsageError
from sppkit.machine.interrupts import uninterrupted
from sppkit.record.table import read_csv
from sppkit.record.write import read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from sppkit.comparison.lineup import Member

    # Called with what is being done, how much of it is done, and how much there is.
    Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Measured:
    """One network of a comparison and what was measured of it.

    Attributes:
        label: What the legend calls it.
        stem: Name of its files without their ending.
        table: As made by ``build_table``.
        record: Its record; empty for a saved run without one.
        warnings: What the user should know about the measurement.
        is_new: Whether it was measured now, and has to be written.
    """

    label: str
    stem: str
    table: pd.DataFrame
    record: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    is_new: bool = True


def target_names(members: Iterable[Member], folder: Path) -> list[str]:
    """Return the files that the measured networks will be written to."""
    members = list(members)
    names = [f"{member.stem}.{suffix}" for member in members if member.resolved for suffix in ("csv", "json")]
    saved = {member.saved.resolve() for member in members if member.saved}
    for name in names:
        if (folder / name).resolve() in saved:
            raise UsageError(
                f"{folder / name} is to be compared, and would be overwritten by a new run; choose another --out DIR."
            )
    return names


def iter_measured(members: Sequence[Member], progress: Progress | None = None) -> Iterator[Measured]:
    """Measure or read the networks, one after the other; of each only the table is kept."""
    # Saved runs first: a broken file is said before minutes of work, not after them.
    saved = {member.label: _read(member.saved) for member in members if member.saved}
    for number, member in enumerate(members, 1):
        if member.label in saved:
            table, record = saved[member.label]
            yield Measured(member.label, member.stem, table, record, is_new=False)
            continue
        try:
            yield _measure_member(member, f"{number}/{len(members)} {member.label}: ", progress)
        except (MeasurementError, DoesNotFitError) as error:
            raise type(error)(f"{member.label}: {error}") from error
        except UsageError as error:
            raise UsageError(f"{member.label}: {error}") from error


def _read(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    beside = path.with_suffix(".json")
    return read_csv(path), read_record(beside) if beside.exists() else {}


def _measure_member(member: Member, prefix: str, progress: Progress | None) -> Measured:
    with uninterrupted():
        from sppkit.measuring.run import run  # torch: not needed for saved runs

    if member.resolved is None:
        raise UsageError(f"{member.label} has nothing to measure.")

    def tell(task: str, done: int, total: int) -> None:
        if progress is not None:
            progress(prefix + task, done, total)

    result = run(member.resolved, tell if progress else None)
    return Measured(member.label, member.stem, result.table, result.record, result.warnings)
