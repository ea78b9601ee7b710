"""A verdict and its findings in words, the same in every format."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sppkit.gate.verdict import Finding, Verdict

# Beyond this a probability is none.
_NEVER = 1e-12
_AGAINST = {
    "policy": "policy",
    "prediction": "theory",
    "baseline": "baseline",
    "exact": "baseline, exactly",
}
_WORDS = {
    "sites": "block",
    "nonfinite": "non-finite values",
    "channel_squared_mean": "squared mean",
    "channel_variance": "variance",
    "residual_variance": "residual variance",
    "mean_shift": "squared mean over variance",
    "growth": "variance over linear growth",
    "variance_kept": "variance over the first block's",
    "reset": "stage's start over the first stage's",
    "addition": "variance over skip plus branch",
    "branch_level": "residual variance over a healthy one",
    "mean_share": "squared mean's share",
    "addition_gain": "what the addition takes of the branch",
}


def word(verdict: Verdict) -> str:
    """Return the verdict as one word."""
    if verdict.errors:
        return "FAIL"
    if verdict.missing:
        return "NO BASELINE"
    return "WARN" if verdict.warnings else "PASS"


def headline(verdict: Verdict) -> str:
    """Return the verdict as one line."""
    name = verdict.name or verdict.title or "run"
    first = verdict.first
    if verdict.errors and first is not None:
        return f"{name}: {verdict.bad_blocks} of {len(verdict.sites)} blocks fail, the first is {place(first)}"
    if verdict.missing:
        return f"{name}: {verdict.missing}"
    held = f"{len(verdict.sites)} blocks, {seeds(verdict.seeds)}; judged by {', '.join(verdict.judged)}"
    if first is not None:
        return f"{name}: {_count(len(verdict.warnings), 'warning')}, the first at {place(first)}; {held}"
    return f"{name}: {held}"


def statistic(finding: Finding) -> str:
    """Return what was judged, in words."""
    return _WORDS.get(finding.statistic, finding.statistic.replace("_", " "))


def place(finding: Finding) -> str:
    """Return where it was found."""
    return f"block {finding.block} ({finding.name})"


def numbers(finding: Finding) -> list[str]:
    """Return what was expected, found and allowed, and how sure it is."""
    parts = []
    if finding.expected is not None:
        parts.append(f"expected {number(finding.expected)}")
    if finding.found is not None:
        parts.append(f"found {number(finding.found)}")
    if finding.limit is not None:
        parts.append(f"limit {number(finding.limit)}")
    if finding.ratio is not None and math.isfinite(finding.ratio):
        parts.append(f"×{number(finding.ratio)}")
    parts.append(seeds(finding.seeds))
    if finding.chance is not None:
        parts.append(f"chance {_chance(finding.chance)}")
    return parts


def against(finding: Finding) -> str:
    """Return what it was held against."""
    return _AGAINST[finding.kind]


def sentence(finding: Finding) -> str:
    """Return a finding as one sentence."""
    if finding.found is None:
        return f"{place(finding)}: {finding.cause}."
    text = f"{place(finding)}: {statistic(finding)} against {against(finding)}: {', '.join(numbers(finding))}"
    return f"{text}. Likely cause: {finding.cause}." if finding.cause else f"{text}."


def number(value: float) -> str:
    """Return a number as it stands in a sentence.

    >>> number(0.33333), number(34770.0), number(17)
    ('0.333', '3.48e+04', '17')
    """
    return f"{value:.3g}"


def seeds(count: int) -> str:
    """Return a number of seeds in words."""
    return _count(count, "seed")


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _chance(chance: float) -> str:
    return f"< {_NEVER:g}" if chance < _NEVER else f"{chance:.1g}"
