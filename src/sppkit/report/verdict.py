"""What a table says, in words: does the mean shift, does the variance reset, is the branch as strong as it should be?

Orientation for the reader, not a gate: limits are wide, and each names its reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sppkit.report.blocks import all_finite, average_seeds
from sppkit.report.mean_shift import state_mean
from sppkit.report.residual import state_residual
from sppkit.report.statement import Statement
from sppkit.report.variance import state_broken_variance, state_reset
from sppkit.table import is_measured

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd


def state_findings(table: pd.DataFrame, record: Mapping[str, Any]) -> list[Statement]:
    """Say what the curves show.

    Args:
        table: As measured or read; several seeds are averaged.
        record: The run's record; its ``expected``, ``network``, ``input`` and ``mode`` are used where they exist.

    Returns:
        Sentences in the order mean, variance, residual branch; non-finite values first. A statistic that was not
        measured gives none.
    """
    return state_blocks(average_seeds(table), record)


def state_blocks(blocks: pd.DataFrame, record: Mapping[str, Any]) -> list[Statement]:
    """Say what the curves show, seeds being averaged already.

    Args:
        blocks: As made by ``average_seeds``.
        record: As for ``state_findings``.

    Returns:
        As ``state_findings``.
    """
    residual = blocks[blocks["block"] > 0]
    statements = [*_iter_nonfinite(blocks), *_iter_output(blocks, residual, record)]
    if is_measured(residual, "residual_variance"):
        joins = residual[residual["residual_variance"].notna() | (residual["nonfinite"] > 0)]
        statements.append(state_residual(joins, record))
    return statements


def _iter_nonfinite(blocks: pd.DataFrame) -> Iterator[Statement]:
    broken = blocks[blocks["nonfinite"] > 0]
    if not broken.empty:
        first = broken.iloc[0]
        yield Statement(
            "bad",
            f"The signal is not finite from block {first['block']} ({first['name']}) on: "
            f"{len(broken)} of {len(blocks)} blocks hold nan or infinite values.",
        )


def _iter_output(blocks: pd.DataFrame, residual: pd.DataFrame, record: Mapping[str, Any]) -> Iterator[Statement]:
    finite = residual[np.isfinite(residual["channel_variance"])]
    if finite.empty:
        return
    broken = state_broken_variance(finite, record, _stem_variance(blocks))
    sound = broken is None and all_finite(residual["channel_variance"])
    mean = state_mean(finite, record) if all_finite(finite["channel_squared_mean"]) else None
    # That the mean stays small beside a variance that has left all bounds, or in what is left of a broken signal, is no
    # good news.
    if mean is not None and (sound or mean.level != "good"):
        yield mean
    if broken is not None:
        yield broken
    elif sound:
        yield from state_reset(finite)


def _stem_variance(blocks: pd.DataFrame) -> float | None:
    stem = blocks.loc[blocks["block"] == 0, "channel_variance"]
    return float(stem.iloc[0]) if len(stem) == 1 and all_finite(stem) else None
