"""Shifts of the input for one network or several: which, and measuring them one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sppkit.comparison.lineup import line_up
from sppkit.comparison.runs import Measured
from sppkit.config.resolve import load_toml
from sppkit.config.shifts import check_input, shift_options
from sppkit.errors import DoesNotFitError, MeasurementError, UsageError
from sppkit.machine.interrupts import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from sppkit.comparison.lineup import Lineup, Member
    from sppkit.comparison.runs import Progress

_TRY = "Try: sppkit shift --arch bn-relu-conv --depth 50 --image-size 64 --input photos/ --shift contrast"
_SHIFT = frozenset({"shift"})


@dataclass(frozen=True)
class ShiftPlan:
    """What is to be measured.

    Attributes:
        lineup: The networks.
        shifts: The shifts, each in one spelling.
    """

    lineup: Lineup
    shifts: tuple[str, ...]


def plan_shifts(
    texts: Sequence[str], flags: Mapping[str, object], shifts: Sequence[str], file: Path | None
) -> ShiftPlan:
    """Read and check networks and shifts."""
    shared = {**(load_toml(file) if file else {}), **flags}
    given = list(shifts) or shared.get("shift")
    if not given:
        raise UsageError(f"which shift? Give --shift NAME, as often as there are shifts: sppkit list shifts.\n{_TRY}")
    chosen = shift_options("shift", given)
    if not texts and not {"arch", "model", "specs"} & shared.keys():
        raise UsageError(f"which network? Give --arch, --model, or SPECs as in sppkit compare.\n{_TRY}")
    saved = next((text for text in texts if text.lower().endswith(".csv")), None)
    if saved is not None:
        raise UsageError(
            f"{saved} is a saved run; give the network itself, as ARCH, timm:NAME or path/file.py:factory."
        )
    lineup = line_up(texts, flags, file, least=1, ignored=_SHIFT)
    for member in lineup.members:
        _check(member, chosen)
    return ShiftPlan(lineup, chosen)


def iter_shifted(plan: ShiftPlan, progress: Progress | None = None) -> Iterator[Measured]:
    """Measure the networks under all shifts, one after the other; of each only the table is kept."""
    members = plan.lineup.members
    for number, member in enumerate(members, 1):
        before = f"{number}/{len(members)} {member.label}: " if len(members) > 1 else ""
        try:
            yield _measure(member, plan.shifts, before, progress)
        except (MeasurementError, DoesNotFitError, UsageError) as error:
            if len(members) == 1:
                raise
            raise type(error)(f"{member.label}: {error}") from error


def _check(member: Member, shifts: Sequence[str]) -> None:
    if "shift" in member.own:
        raise UsageError(f"{member.label}: every network gets the same shifts; give them as --shift.")
    if member.resolved is not None:
        for text in shifts:
            check_input(text, member.resolved.config.input)


def _measure(member: Member, shifts: Sequence[str], before: str, progress: Progress | None) -> Measured:
    with uninterrupted():
        from sppkit.measuring.shifted.run import run_shifts

    if member.resolved is None:
        raise UsageError(f"{member.label} has nothing to measure.")

    def tell(task: str, done: int, total: int) -> None:
        if progress is not None:
            progress(before + task, done, total)

    result = run_shifts(member.resolved, shifts, tell if progress else None)
    return Measured(member.label, f"{member.stem}-shift", result.table, result.record, result.warnings)
