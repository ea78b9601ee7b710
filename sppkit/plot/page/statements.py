"""The verdict on the runs of a page: what is wrong, what is worth knowing and what is right, a line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sppkit.curves.steps import iter_trend
from sppkit.diagnosis.diagnose import diagnose_curves
from sppkit.diagnosis.healthy import iter_descriptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sppkit.diagnosis.result import Diagnosis
    from sppkit.plot.page.shown_run import ShownRun

Level = Literal["error", "warning", "remark", "good"]
_WORDS = {"error": "fault", "warning": "doubt"}


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One line of the verdict.

    Attributes:
        level: How bad it is.
        text: The fact, in a sentence.
        more: Why it is so and what to do; empty where there is nothing to say.
        run: Index of the run that it is about.
        block: The block where it begins; None for all of them.
        name: Which diagnosis, as the sections of ``docs/diagnoses.md`` are called; empty for none.
    """

    level: Level
    text: str
    more: str = ""
    run: int = 0
    block: int | None = None
    name: str = ""


@dataclass(frozen=True)
class Verdict:
    """What stands at the top of the page.

    Attributes:
        level: The worst of all statements.
        headline: All of it in a sentence.
        statements: The lines, the worst first.
    """

    level: Level
    headline: str
    statements: tuple[Statement, ...]


def judge(runs: Sequence[ShownRun]) -> Verdict:
    """Return what ``diagnose`` finds in the runs."""
    statements = [statement for index, run in enumerate(runs) for statement in _iter_statements(index, run)]
    order: list[Level] = ["error", "warning", "remark", "good"]
    found = {statement.level for statement in statements}
    level: Level = next((level for level in order[:2] if level in found), "good")
    return Verdict(
        level, _headline(runs, statements), tuple(sorted(statements, key=lambda one: order.index(one.level)))
    )


def _headline(runs: Sequence[ShownRun], statements: Sequence[Statement]) -> str:
    ailing: dict[str, set[int]] = {level: {one.run for one in statements if one.level == level} for level in _WORDS}
    if len(runs) == 1:
        counts = [sum(one.level == level for one in statements) for level in _WORDS]
        told = [_counted(count, word) for count, word in zip(counts, _WORDS.values(), strict=True) if count]
        return f"{' and '.join(told)} found." if told else "No fault found."
    if not any(ailing.values()):
        return f"No fault found in any of {len(runs)} runs."
    faulty = len(ailing["error"])
    doubtful = len(ailing["warning"] - ailing["error"])
    told = [f"{faulty} of {len(runs)} runs {'has' if faulty == 1 else 'have'} a fault"] if faulty else []
    told += [f"{doubtful} of {len(runs)} runs {'is' if doubtful == 1 else 'are'} in doubt"] if doubtful else []
    return f"{', '.join(told)}."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _iter_statements(index: int, run: ShownRun) -> Iterator[Statement]:
    found = diagnose_curves(run.curves)
    for diagnosis in found:
        yield _state(index, diagnosis)
    for line in iter_trend(run.table):
        yield Statement(level="remark", text=f"{line[0].upper()}{line[1:]}.", run=index)
    # Beside a signal that is lost it is no good news that some statistic of it is small.
    if not any(diagnosis.severity == "error" for diagnosis in found):
        for mark, text in iter_descriptions(run.curves, {diagnosis.statistic for diagnosis in found}):
            yield Statement(level="good" if mark == "good" else "remark", text=text, run=index)


def _state(index: int, diagnosis: Diagnosis) -> Statement:
    against = diagnosis.fact_against_theory[len(diagnosis.fact) :].strip(" ()")
    parts = [part for part in (against, diagnosis.cause, diagnosis.remedy) if part]
    more = " ".join(f"{part[0].upper()}{part[1:]}." for part in parts)
    return Statement(
        level=diagnosis.severity,
        text=f"{diagnosis.fact}.",
        more=more,
        run=index,
        block=diagnosis.block,
        name=diagnosis.name,
    )
