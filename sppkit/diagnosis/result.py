"""One diagnosis: a fault, its curves, its likely cause and its remedy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sppkit.curves.curves import PREDICTED

if TYPE_CHECKING:
    from sppkit.curves.curves import Curves

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
        cause: The likely cause, as the middle of a sentence; empty where what is seen has several.
        remedy: What to do, as the end of a sentence.
        certain: Whether the table and the record exclude other causes; else ``explain`` is asked for a better one.
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
    certain: bool = True

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
        return f"{'; '.join(filter(None, (self.fact_against_theory, self.cause, self.remedy)))}."

    def __str__(self) -> str:
        return f"{self.severity}: {self.text}"


def diagnosed(
    curves: Curves,
    name: str,
    severity: Severity,
    *,
    begins: int,
    worst: int,
    statistic: str,
    limit: float,
    fact: str,
    cause: str,
    remedy: str,
    found: float | None = None,
    certain: bool = True,
) -> Diagnosis:
    """Return a diagnosis of judged rows.

    Args:
        curves: The curves.
        name: Which fault.
        severity: How bad it is.
        begins: Index of the judged row where it begins.
        worst: Index of the judged row where it is worst.
        statistic: The column that shows it.
        limit: The threshold at the worst row.
        fact: What is seen.
        cause: The likely cause.
        remedy: What to do.
        found: The value at the worst row; that of the column where it is left out, and only then is it compared with a
            prediction.
        certain: Whether other causes are excluded.

    Returns:
        The diagnosis.
    """
    first, last = int(curves.judged[begins]), int(curves.judged[worst])
    expected, spread = (None, None) if found is not None else predicted(curves, statistic, last)
    return Diagnosis(
        name=name,
        severity=severity,
        block=int(curves.blocks[first]),
        block_name=curves.names[first],
        worst_block=int(curves.blocks[last]),
        statistic=statistic,
        found=float(curves.seed_mean(statistic)[last]) if found is None else found,
        limit=limit,
        expected=expected,
        spread=spread,
        fact=fact,
        cause=cause,
        remedy=remedy,
        certain=certain,
    )


def predicted(curves: Curves, statistic: str, row: int) -> tuple[float | None, float | None]:
    """Return what theory predicts for a row.

    Args:
        curves: The curves.
        statistic: A column of the table.
        row: Its index among all rows.

    Returns:
        The prediction, and the standard deviation of an average over this many seeds; None where there is none.
    """
    expected, spread = (curves.seed_mean(f"{PREDICTED}{statistic}{suffix}")[row] for suffix in ("", "_spread"))
    return _number(expected), _number(spread / math.sqrt(max(1, len(curves.seeds))))


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
