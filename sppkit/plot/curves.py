"""What a plot draws, as numbers out of the table: the curve over the seeds, the stages, where a signal was lost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sppkit.record.table import is_lost, is_measured

if TYPE_CHECKING:
    import pandas as pd

    Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Curve:
    """One statistic against the block index, over the seeds that are finite there; NaN where there is none.

    Attributes:
        blocks: Block indices, ascending.
        centre: The value of the only seed, or the mean over seeds.
        low: The smallest value over seeds.
        high: The largest value over seeds.
    """

    blocks: Values
    centre: Values
    low: Values
    high: Values


def build_curve(table: pd.DataFrame, column: str, *, geometric: bool = False) -> Curve:
    """Return a column of the table as a curve over the block index."""
    values = finite_values(table, column)
    by_block = values.groupby(table["block"])
    low, high = by_block.min(), by_block.max()
    if count_seeds(table) == 1:  # not exp(log(value)): what is drawn is what was measured, to the last bit
        centre = low
    elif geometric:
        logarithms = values.map(math.log, na_action="ignore").groupby(table["block"])
        centre = logarithms.mean().map(math.exp, na_action="ignore")
    else:
        centre = by_block.mean()
    return Curve(*(np.asarray(values, dtype=float) for values in (low.index, centre, low, high)))


def finite_values(table: pd.DataFrame, column: str) -> pd.Series[float]:
    """Return a column of the table with NaN in the place of infinities."""
    values = table[column].astype("float64")
    return values.where(np.isfinite(values))


def has_finite(table: pd.DataFrame, column: str) -> bool:
    """Return whether a column has any value to draw."""
    return bool(finite_values(table, column).notna().any())


def has_nonpositive(table: pd.DataFrame, column: str) -> bool:
    """Return whether a column has a finite value that has no logarithm."""
    return bool((finite_values(table, column) <= 0).any())


def count_seeds(table: pd.DataFrame) -> int:
    """Return the number of seeds in the table."""
    return int(table["seed"].nunique(dropna=False))


def lost_rows(table: pd.DataFrame, statistic: str) -> pd.DataFrame:
    """Return the rows in which a statistic was measured and came out as nan or infinity."""
    return table.loc[is_lost(table, statistic) & is_measured(table, statistic)]


def has_lost(table: pd.DataFrame, statistic: str) -> bool:
    """Return whether a statistic was lost anywhere."""
    return not lost_rows(table, statistic).empty


def is_layered(table: pd.DataFrame) -> bool:
    """Return whether the rows are layers of a network without residual joins: no stage, no branch."""
    return bool(table[["stage", "residual_variance"]].isna().all(axis=None))


def last_block(table: pd.DataFrame) -> int:
    """Return the largest block index."""
    return int(table["block"].max())


def stage_starts(table: pd.DataFrame) -> dict[int, int]:
    """Return the first block (the transition block) of each stage from 1 on, in order of the blocks."""
    staged = table[table["stage"].fillna(0) >= 1]
    starts = staged.groupby("stage")["block"].min().sort_values()
    return dict(zip(starts.index.astype(int), starts.astype(int), strict=True))
