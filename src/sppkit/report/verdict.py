"""What a table says, in words: does the mean shift, does the variance reset, is the branch as strong as it should be?

Orientation for the reader, not a gate: limits are wide, and each names its reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    import pandas as pd

Level = Literal["good", "note", "bad"]

# A healthy mean-free network shows a squared mean below 2 % of the variance at full width, up to 5 % on small maps
# (finite-batch noise); BatchNorm before ReLU holds it at 0.3183/0.6817 = 0.467 at any depth.
_NO_SHIFT = 0.1
_SHIFT = 1.0
# Linear growth reaches 51 behind 50 blocks; a signal that is 10 times beyond linear growth explodes.
_EXPLODES = 10.0
_VANISHES = 1e-3
# "Close to its value behind the first transition": the published curves agree within 40 %, sag included.
_RESETS = 2.0
# Seeds and finite maps move a stage's mean residual variance by a few per cent.
_RESIDUAL_TOLERANCE = 0.1


@dataclass(frozen=True)
class Statement:
    """One sentence about a table and how good the news is."""

    level: Level
    text: str


def state_findings(table: pd.DataFrame, record: Mapping[str, Any]) -> list[Statement]:
    """Say what the curves show.

    Args:
        table: As measured or read; several seeds are averaged.
        record: The run's record; its ``expected`` entry and ``network`` are used where they exist.

    Returns:
        Sentences in the order mean, variance, residual branch; non-finite values first.
    """
    blocks = _mean_over_seeds(table)
    statements = list(_iter_nonfinite(blocks))
    finite = blocks[np.isfinite(blocks["channel_variance"]) & np.isfinite(blocks["channel_squared_mean"])]
    finite = finite[finite["block"] > 0]
    if finite.empty:
        return statements
    if not statements:
        statements.extend(_iter_mean(finite))
    statements.extend(_iter_variance(finite))
    statements.extend(_iter_residual(finite, record))
    return statements


def _mean_over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    columns = ["channel_squared_mean", "channel_variance", "residual_variance"]
    groups = table.groupby(["block", "stage", "name"], sort=False)
    # skipna would hide a seed that broke.
    means = groups[columns].mean(skipna=False)
    return means.join(groups["nonfinite"].sum()).reset_index()


def _iter_nonfinite(blocks: pd.DataFrame) -> Iterator[Statement]:
    broken = blocks[blocks["nonfinite"] > 0]
    if not broken.empty:
        first = broken.iloc[0]
        yield Statement(
            "bad",
            f"The signal is not finite from block {first['block']} ({first['name']}) on: "
            f"{len(broken)} of {len(blocks)} blocks hold nan or infinite values.",
        )


def _iter_mean(blocks: pd.DataFrame) -> Iterator[Statement]:
    variance = blocks["channel_variance"].replace(0, math.nan)
    ratio = blocks["channel_squared_mean"] / variance
    if ratio.isna().all():
        return
    worst = blocks[ratio == ratio.max()].iloc[0]
    where = f"block {worst['block']}"
    if ratio.max() <= _NO_SHIFT:
        yield Statement(
            "good", f"The mean does not shift: its square is at most {ratio.max():.1%} of the variance ({where})."
        )
    elif ratio.max() <= _SHIFT:
        yield Statement(
            "note",
            f"The mean shifts: its square reaches {ratio.max():.0%} of the variance ({where}); "
            "BatchNorm before ReLU holds it near 47%.",
        )
    else:
        first = blocks[ratio > _SHIFT].iloc[0]
        yield Statement(
            "bad",
            f"The mean shifts: its square passes the variance at block {first['block']} ({first['name']}) "
            f"and reaches {ratio.max():.3g} times the variance ({where}).",
        )


def _iter_variance(blocks: pd.DataFrame) -> Iterator[Statement]:
    stages = blocks.groupby("stage", sort=False)["channel_variance"]
    starts, ends = stages.first(), stages.last()
    if starts.iloc[0] == 0 or ends.min() < _VANISHES * starts.iloc[0]:
        yield Statement("bad", f"The variance vanishes: {ends.min():.3g} at the end of a stage.")
        return
    longest = int(stages.size().max())
    if ends.max() > _EXPLODES * (1 + longest) * max(1.0, starts.iloc[0]):
        factor = _growth(blocks["channel_variance"])
        yield Statement("bad", f"The variance explodes: {ends.max():.3g} at its highest, {factor:.3g} times per block.")
    elif len(starts) > 1 and max(starts.max() / starts.iloc[0], starts.iloc[0] / starts.min()) > _RESETS:
        yield Statement(
            "bad", f"The variance does not reset: stages start at {_listed(starts)} and end at {_listed(ends)}."
        )
    elif len(starts) > 1:
        yield Statement("good", f"The variance resets: stages start at {_listed(starts)} and end at {_listed(ends)}.")
    else:
        yield Statement("good", f"The variance goes from {starts.iloc[0]:.3g} to {ends.iloc[0]:.3g}.")


def _growth(variance: pd.Series[float]) -> float:
    return float((variance.iloc[-1] / variance.iloc[0]) ** (1 / max(1, len(variance) - 1)))


def _iter_residual(blocks: pd.DataFrame, record: Mapping[str, Any]) -> Iterator[Statement]:
    measured = blocks.dropna(subset=["residual_variance"])
    if measured.empty:
        return
    means = measured.groupby("stage", sort=False)["residual_variance"].mean()
    expected = record.get("expected", {}).get("residual_variance")
    if expected is None:
        yield Statement(
            "note", f"The residual variance is {_listed(means)} as stage means; healthy branches have about 1."
        )
        return
    off = (means / expected - 1).abs().max()
    sits = f"The residual variance is {_listed(means)} as stage means; theory expects {expected:.3g}"
    if off <= _RESIDUAL_TOLERANCE:
        yield Statement("good", f"{sits}.")
    elif means.max() <= expected * (1 + _RESIDUAL_TOLERANCE) and _sags_at_borders(means, record):
        yield Statement("note", f"{sits} without borders: zero padding makes it sag on small maps.")
    else:
        yield Statement("bad", f"{sits}.")


def _sags_at_borders(means: pd.Series[float], record: Mapping[str, Any]) -> bool:
    network = record.get("network", {})
    return network.get("padding") == "zeros" and bool(network.get("scaled")) and bool(means.is_monotonic_decreasing)


def _listed(values: pd.Series[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
