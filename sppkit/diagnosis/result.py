"""One diagnosis: a fault, its evidence, its likely cause and its remedy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "remark"]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What is wrong, where it begins, why, and what to do.

    Attributes:
        name: Which fault, as the sections of ``docs/diagnoses.md`` are called: ``mean-shift``.
        severity: ``error`` for a signal that will not train so, ``warning`` for a doubtful one, ``remark`` for what is
            worth knowing and no fault.
        block: The block where it begins, as in the table.
        block_name: Its name there.
        worst_block: The block where it is worst.
        statistic: The column of the table that shows it.
        found: Its value at the worst block, averaged over seeds.
        limit: The threshold that it passed, in the same units at the same block.
        expected: What theory predicts there for the network as it was built, if the table says so.
        spread: The prediction's standard deviation for an average over as many seeds.
        fact: What is seen, as the beginning of a sentence.
        cause: The likely cause, as the middle of a sentence.
        remedy: What to do, as the end of a sentence.
    """

    name: str
    severity: Severity
    block: int
    block_name: str
    worst_block: int
    statistic: str
    found: float
    limit: float
    expected: float | None
    spread: float | None
    fact: str
    cause: str
    remedy: str

    @property
    def ratio(self) -> float | None:
        """The value found over the expected one."""
        return self.found / self.expected if self.expected else None

    @property
    def deviations(self) -> float | None:
        """How many standard deviations the value found lies above the expected one; below it is negative."""
        if self.expected is None or not self.spread:
            return None
        return (self.found - self.expected) / self.spread

    @property
    def fact_against_theory(self) -> str:
        """The fact, with what theory predicts for the network as it was built, if that is known."""
        if self.expected is None or not math.isfinite(self.found):
            return self.fact
        sigmas = "" if self.deviations is None else f", {self.deviations:+.1f} standard deviations"
        apart = "" if self.ratio is None else f", {self.ratio:.3g} times that{sigmas}"
        compared = f"theory predicts {self.expected:.3g} for this network, measured is {self.found:.3g}{apart}"
        return f"{self.fact} (at block {self.worst_block} {compared})"

    @property
    def text(self) -> str:
        """Everything in one sentence: the fact, what theory makes of it, the cause, the remedy."""
        return f"{self.fact_against_theory}; {self.cause}; {self.remedy}."

    def __str__(self) -> str:
        return f"{self.severity}: {self.text}"
