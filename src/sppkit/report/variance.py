"""Does the variance explode, vanish, or reset at each stage?"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from sppkit.report.blocks import listed
from sppkit.report.fields import mapping_at, number_at, text_at
from sppkit.report.statement import Level, Statement

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

# Linear growth reaches 51 behind 50 blocks; a signal that is 10 times beyond linear growth explodes.
_EXPLODES = 10.0
# Sagging networks that still train keep a tenth (figure 2's curves keep half); a thousandth is no sag.
_VANISHES = 1e-3
# A transition's variance scatters by 4 % on narrow networks and small maps (measured). A stage that has built up less
# than 10 % has nothing to reset; below 25 % a missing reset can't be told from the scatter.
_SHOWS_RESET, _PROVES_NO_RESET = 1.1, 1.25
# The published curves' stages start within 40 % of each other, sag included; a tenth is lost among the next branches.
_DRIFTS, _LOSES = 2.0, 10.0


class _Stage(NamedTuple):
    start: float
    end: float
    blocks: int

    @property
    def without_reset(self) -> float:
        """The variance one block later, had the stage gone on."""
        return self.end + (self.end - self.start) / max(1, self.blocks - 1)

    @property
    def built_up(self) -> float:
        return self.without_reset / self.start


def state_broken_variance(blocks: pd.DataFrame, record: Mapping[str, Any], stem: float | None) -> Statement | None:
    """Say whether the variance vanishes or explodes.

    Args:
        blocks: One row per residual block, with finite variances.
        record: The run's record.
        stem: The variance at the input of the first block, if it is known and finite.

    Returns:
        A sentence, or None where it does neither.
    """
    variance, network = blocks["channel_variance"], mapping_at(record, "network")
    first, lowest, highest = variance.iloc[0], variance.min(), variance.max()
    # A normalizer gives the blocks a scale of their own, whatever the stem's is.
    normalized = text_at(network, "norm", "none") != "none"
    before = max(first, stem) if stem is not None and not normalized else first
    if lowest <= _VANISHES * before:
        return Statement("bad", f"The variance vanishes: from {before:.3g} to {lowest:.3g}.")
    longest = int(blocks.groupby("stage", sort=False, dropna=False).size().max())
    limit = _EXPLODES * (1 + longest * _step(network)) * (first if network and not normalized else max(1.0, first))
    if highest > limit:
        return Statement("bad", f"The variance explodes: it reaches {highest:.3g}{growth_per_block(variance)}.")
    return None


def growth_per_block(values: pd.Series[float]) -> str:
    """Return by which factor values change from block to block, as the end of a sentence.

    Args:
        values: Positive values, one per block.

    Returns:
        The factor, or nothing for a single block.
    """
    if len(values) < 2:
        return ""
    return f", {float((values.iloc[-1] / values.iloc[0]) ** (1 / (len(values) - 1))):.3g} times per block"


def state_reset(blocks: pd.DataFrame) -> Iterator[Statement]:
    """Say whether the variance resets at each stage, and whether stages start lower and lower.

    The first block of a stage projects its shortcut, so that its output starts afresh, about where the stage before it
    started, instead of one block's growth above where that one ended. What is halfway between (in ratios) decides.

    Args:
        blocks: One row per residual block, with finite and positive variances.

    Yields:
        One sentence, and a second one where the stages' starts drift apart.
    """
    stages = _stages(blocks)
    starts, ends = listed(stage.start for stage in stages), listed(stage.end for stage in stages)
    told = f"stages start at {starts} and end at {ends}"
    kept = [(a.built_up, b.start > (a.start * a.without_reset) ** 0.5) for a, b in pairwise(stages) if a.built_up > 0]
    if any(stays and built_up > _PROVES_NO_RESET for built_up, stays in kept):
        yield Statement("bad", f"The variance does not reset: {told}.")
        return
    judged = [stays for built_up, stays in kept if built_up > _SHOWS_RESET]
    if judged and not any(judged):
        yield Statement("good", f"The variance resets: {told}.")
    else:
        yield Statement("good", _state_course(blocks["channel_variance"]))
    yield from _iter_drift(stages)


def _stages(blocks: pd.DataFrame) -> list[_Stage]:
    groups = blocks.groupby("stage", sort=False, dropna=False)["channel_variance"]
    return [_Stage(*row) for row in zip(groups.first(), groups.last(), groups.size(), strict=True)]


def _iter_drift(stages: list[_Stage]) -> Iterator[Statement]:
    first, starts = stages[0].start, [stage.start for stage in stages]
    if min(starts) < first / _DRIFTS:
        level: Level = "bad" if min(starts) < first / _LOSES else "note"
        yield Statement(level, f"Each stage should start where the first one does, but it sags to {min(starts):.3g}.")
    elif max(starts) > first * _DRIFTS:
        yield Statement("note", f"Each stage should start where the first one does, but it rises to {max(starts):.3g}.")


def _state_course(variance: pd.Series[float]) -> str:
    if len(variance) == 1:
        return f"The variance is {variance.iloc[0]:.3g}."
    return (
        f"The variance goes from {variance.iloc[0]:.3g} to {variance.iloc[-1]:.3g}, between {variance.min():.3g} "
        f"and {variance.max():.3g}."
    )


def _step(network: Mapping[str, Any]) -> float:
    # What one block adds to the variance; at least 1, as a branch that keeps the variance does.
    alpha, skip_gain = number_at(network, "alpha"), number_at(network, "skip_gain")
    scale = (1.0 if alpha is None else alpha) * (1.0 if skip_gain is None else skip_gain)
    # Beyond 1e100 the square would leave the floats, and no signal would be left to judge.
    return max(1.0, min(abs(scale), 1e100) ** 2)
