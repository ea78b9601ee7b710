"""What the gate says: findings, and the verdict that they add up to."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Level = Literal["error", "warn"]
# What the statistic was held against.
Kind = Literal["policy", "prediction", "baseline", "exact"]
# The cause of whatever stands behind the first bad block, unless something else is known.
FOLLOWS = "follows from the first"
# How many findings are told in full; what follows from the first says less and less.
_WORST = 5


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One limit's outcome at one block.

    Attributes:
        statistic: The statistic or quantity that was judged.
        name: The block's name.
        block: The block's row in the table.
        limit: The bound that was passed, in the units of ``found``; None where there is no such number.
        expected: What was expected there; None where a policy has bounds only.
        found: What was found, the geometric mean over seeds; None where the block is gone.
        ratio: ``found`` over ``expected``, or over the limit where nothing is expected.
        level: ``error`` or ``warn``.
        cause: The likely cause, in words; may be empty.
        kind: What it was held against.
        seeds: How many seeds ``found`` is the mean of.
        chance: Probability that seeds alone do this anywhere in the network; None where chance plays no part.
        reason: Why the limit stands where it does.
    """

    statistic: str
    name: str
    block: int
    limit: float | None
    expected: float | None
    found: float | None
    ratio: float | None
    level: Level
    cause: str = ""
    kind: Kind = "policy"
    seeds: int = 1
    chance: float | None = None
    reason: str = ""

    @property
    def size(self) -> float:
        """How far off it is: |log ratio|, infinite where there is no ratio."""
        if self.ratio is None or not math.isfinite(self.ratio) or self.ratio <= 0:
            return math.inf
        return abs(math.log(self.ratio))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All findings of one run, the first bad block first.

    Attributes:
        findings: Errors before warnings, each in the order of blocks.
        notices: What the reader should know and what does not fail: another batch size, an improvement, a block that
            is new.
        judged: What the run was held against, for instance ``policy nf-resnet``.
        tests: How it was held against the baseline, and what that can see; empty without one.
        skipped: What could not be judged, and why.
        missing: Why a baseline that was asked for could not be used; empty otherwise.
        name: What the run is called, and its baseline.
        title: The network in words; empty where it is not known.
        sites: Names of the blocks that were judged, in order.
        seeds: How many seeds.
        places: File and line of the code behind a block, by its name, where they are known.
        configured: File and line of the configuration that asks for the run; None where flags do.
        next_steps: Commands to type next.
    """

    findings: tuple[Finding, ...] = ()
    notices: tuple[str, ...] = ()
    judged: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    missing: str = ""
    name: str = ""
    title: str = ""
    sites: tuple[str, ...] = ()
    seeds: int = 0
    places: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    configured: tuple[str, int] | None = None
    next_steps: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return what the terminal shows."""
        from sppkit.gate.reports.terminal import render_text

        return render_text(self)

    def _repr_html_(self) -> str:  # what a notebook shows
        return f"<pre>{escape(str(self))}</pre>"

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that fail."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that do not."""
        return tuple(finding for finding in self.findings if finding.level == "warn")

    @property
    def passed(self) -> bool:
        """Whether nothing failed, and every baseline that was asked for was there."""
        return not self.errors and not self.missing

    @property
    def exit_code(self) -> int:
        """0 passed, 1 an error was found, 3 a baseline was asked for and there is none that can be compared."""
        if self.errors:
            return 1
        return 3 if self.missing else 0

    @property
    def first(self) -> Finding | None:
        """The finding at the first bad block, the largest of several there."""
        failing = self.errors or self.warnings
        return min(failing, key=lambda finding: (finding.block, -finding.size), default=None)

    def worst(self, count: int = _WORST) -> list[Finding]:
        """Return the largest errors (warnings, where there is no error), without the first one.

        Args:
            count: At most so many.

        Returns:
            Findings, the largest first.
        """
        first = self.first
        rest = [finding for finding in self.errors or self.warnings if finding is not first]
        return sorted(rest, key=lambda finding: -finding.size)[:count]

    @property
    def bad_blocks(self) -> int:
        """How many blocks have an error."""
        return len({finding.block for finding in self.errors})

    def described(self) -> dict[str, Any]:
        """Return the verdict as plain values, for JSON.

        Returns:
            Field name to value; numbers that JSON can't hold are texts.
        """
        values = asdict(self)
        values["findings"] = [{key: _plain(value) for key, value in item.items()} for item in values["findings"]]
        return {"passed": self.passed, "exit_code": self.exit_code, **values}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
