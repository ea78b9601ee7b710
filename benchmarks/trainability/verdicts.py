"""What check says of every network before its first step, held against what training did."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

import sppkit
from benchmarks.trainability.cases import find_case, is_fitted
from benchmarks.trainability.measure import INPUTS, read_tables
from benchmarks.trainability.train import is_on_record, trains, working_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from benchmarks.trainability.cases import Case
    from sppkit import Verdict

POLICY = "any"


@dataclass(frozen=True)
class Judged:
    """A case, what the verdict says of it, and what training did.

    Attributes:
        case: The network.
        source: The input at which it was measured: ``gaussian`` or ``real``.
        passed: Whether the verdict has no error.
        score: How healthy the verdict holds it to be; only the order means something.
        trained: Whether it learnt at its best setting.
        working: With how many of the five settings it learnt.
        because: The statistic and block of the first finding; empty without one.
    """

    case: Case
    source: str
    passed: bool
    score: float
    trained: bool
    working: float
    because: str

    @property
    def right(self) -> bool:
        """Whether the verdict agrees with training."""
        return self.passed == self.trained


def score(verdict: Verdict) -> float:
    """Return 0 without a finding, less with warnings, less again with errors: the more, the further off they are.

    A finding is as far off as the logarithm of its ratio to the limit, at most a factor of e^10: one infinite value is
    not worse than all else together.
    """
    by_level = {"warn": 0.0, "error": 0.0}
    for finding in verdict.findings:
        by_level[finding.level] = max(by_level[finding.level], min(finding.size, 10.0))
    failed = -100 - by_level["error"] if verdict.errors else 0.0
    return failed - (1 + by_level["warn"] if verdict.warnings else 0.0)


def iter_judged(path: Path, only: str = "", policy: object = POLICY) -> Iterator[Judged]:
    """Yield every case that was trained and measured, once for each input."""
    for (name, source), table in read_tables(path).items():
        case = find_case(name)
        if name.startswith(only) and is_on_record(case):
            yield _judge(case, source, sppkit.check(table, policy=policy))


def _judge(case: Case, source: str, verdict: Verdict) -> Judged:
    first = verdict.first
    because = "" if first is None else f"{first.statistic} at {first.name}"
    return Judged(case, source, verdict.passed, score(verdict), trains(case), working_settings(case), because)


def rank_correlation(judged: Iterable[Judged]) -> float:
    """Return Spearman's correlation, ties at their mean rank, of the score with the number of settings that work."""
    pairs = pd.DataFrame([(each.score, each.working) for each in judged], columns=["score", "working"])
    return float(pairs.score.rank().corr(pairs.working.rank()))


def report(path: Path, only: str = "", policy: object = POLICY) -> str:
    """Return the agreement in words: in all, on either half of the kinds, and every verdict that is wrong."""
    judged = list(iter_judged(path, only, policy))
    return "\n\n".join(_report_input(source, [each for each in judged if each.source == source]) for source in INPUTS)


def _report_input(source: str, judged: list[Judged]) -> str:
    if not judged:
        return f"{source} input: no case is both measured and trained"
    fitted = [each for each in judged if is_fitted(each.case)]
    proof = [each for each in judged if not is_fitted(each.case)]
    return "\n".join([
        f"{source} input",
        _agreement("all kinds", judged),
        _agreement("kinds to fit limits to", fitted),
        _agreement("kinds for the proof", proof),
        *(f"  {each.case.name:30} {_wrong(each)}" for each in judged if not each.right),
    ])


def _agreement(what: str, judged: list[Judged]) -> str:
    healthy = [each for each in judged if each.trained]
    sick = [each for each in judged if not each.trained]
    return (
        f"{what}: {_count(each.right for each in judged)} verdicts right, "
        f"{_count(each.passed for each in healthy)} that train pass, "
        f"{_count(not each.passed for each in sick)} that don't train fail; "
        f"rank correlation {_rounded(rank_correlation(judged))}"
    )


def _count(flags: Iterable[bool]) -> str:
    known = list(flags)
    return f"{sum(known)}/{len(known)}"


def _rounded(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "not known"


def _wrong(each: Judged) -> str:
    if each.passed:
        return f"passes, doesn't train{f' (warned of {each.because})' if each.because else ''}"
    return f"fails, trains with {each.working:g} of 5 settings ({each.because})"
