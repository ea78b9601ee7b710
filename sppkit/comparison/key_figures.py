"""A run in a handful of numbers, and the block from which two runs are different."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sppkit.curves.curves import Curves
from sppkit.record.table import is_measured

if TYPE_CHECKING:
    import pandas as pd

    Values = np.ndarray[Any, np.dtype[np.float64]]

# From seed to seed a channel variance moves by up to 3 % and a squared mean by 9 % at full width (measured), a narrow
# network's twice as much: what is further apart is the network's doing.
PARTED = 0.25


@dataclass(frozen=True)
class KeyFigures:
    """What tells runs apart; means over seeds, blocks from 1 on, nan where there is no value.

    Attributes:
        ratio: Largest squared mean, as a multiple of the variance of the same block.
        ratio_block: Where.
        starts: Variance after the first block of each stage.
        ends: Variance after the last block of each stage.
        lengths: Number of blocks of each stage.
        residuals: Mean residual variance of each stage.
        residual: Median residual variance of all blocks.
        nonfinite: The first block (from 0) with values that are not finite, or None.
    """

    ratio: float
    ratio_block: int | None
    starts: tuple[float, ...]
    ends: tuple[float, ...]
    lengths: tuple[int, ...]
    residuals: tuple[float, ...]
    residual: float
    nonfinite: int | None


def key_figures(table: pd.DataFrame) -> KeyFigures:
    """Return a run's key figures."""
    rows = Curves(table, {}).averaged.table
    lost = rows.loc[rows["nonfinite"] > 0, "block"]
    blocks = rows[rows["block"] > 0] if (rows["block"] > 0).any() else rows
    ratio, where = _largest_ratio(blocks)
    groups = blocks.groupby("stage", sort=False, dropna=False)
    joins = blocks[blocks["residual_variance"].notna() | (blocks["nonfinite"] > 0)]
    measured = is_measured(blocks, "residual_variance")
    by_stage = joins.groupby("stage", sort=False, dropna=False)["residual_variance"]
    return KeyFigures(
        ratio=ratio,
        ratio_block=where,
        starts=tuple(float(rows["channel_variance"].iloc[0]) for _, rows in groups),
        ends=tuple(float(rows["channel_variance"].iloc[-1]) for _, rows in groups),
        lengths=tuple(len(rows) for _, rows in groups),
        residuals=tuple(float(np.mean(_floats(values))) for _, values in by_stage) if measured else (),
        residual=float(np.median(_floats(joins["residual_variance"]))) if measured else math.nan,
        nonfinite=None if lost.empty else int(lost.iloc[0]),
    )


def _largest_ratio(blocks: pd.DataFrame) -> tuple[float, int | None]:
    squared_mean, variance = _floats(blocks["channel_squared_mean"]), _floats(blocks["channel_variance"])
    usable = np.isfinite(squared_mean) & np.isfinite(variance) & (variance > 0)
    if not usable.any():
        return math.nan, None
    ratio = np.full(len(blocks), -math.inf)
    ratio[usable] = squared_mean[usable] / variance[usable]
    at = int(ratio.argmax())
    return float(ratio[at]), int(blocks["block"].iloc[at])


def parting(reference: pd.DataFrame, table: pd.DataFrame) -> tuple[int, str] | None:
    """Return where a run first differs from another by more than ``PARTED``.

    Channel variance and residual variance differ by their ratio; squared means by their difference as a share of the
    larger variance, since a squared mean near zero is noise.
    """
    # Block 0 belongs to no block: its scale is the stem's, which a normalizer then takes away.
    one, other = (_averaged_blocks(frame) for frame in (reference, table))
    if list(one["block"]) != list(other["block"]):
        return None
    scale = np.fmax(_floats(one["channel_variance"]), _floats(other["channel_variance"]))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        apart = {
            "channel_squared_mean": abs(_difference(one, other, "channel_squared_mean")) / scale,
            "channel_variance": _by_ratio(one, other, "channel_variance"),
            "residual_variance": _by_ratio(one, other, "residual_variance"),
        }
    distances = np.nan_to_num(np.stack(list(apart.values())), nan=0.0)
    blocks = np.flatnonzero((distances > PARTED).any(axis=0))
    if not len(blocks):
        return None
    worst = list(apart)[int(distances[:, blocks[0]].argmax())]
    return int(one["block"].iloc[blocks[0]]), worst.replace("_", " ")


def _averaged_blocks(table: pd.DataFrame) -> pd.DataFrame:
    rows = Curves(table, {}).averaged.table
    return rows[rows["block"] > 0]


def _difference(one: pd.DataFrame, other: pd.DataFrame, column: str) -> Values:
    return _floats(other[column]) - _floats(one[column])


def _by_ratio(one: pd.DataFrame, other: pd.DataFrame, column: str) -> Values:
    distances: Values = np.expm1(abs(np.log(_floats(other[column]) / _floats(one[column]))))
    return distances


def _floats(values: pd.Series[Any]) -> Values:
    return values.to_numpy(dtype=float)
