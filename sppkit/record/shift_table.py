"""The table of a shift: one row per (seed, shift, block), and one for the input itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from sppkit.machine.files import replacing
from sppkit.record.table import write_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

# The block that stands for the input.
INPUT = -1
# What is told of a row's signal, of the samples as they are and then shifted, and what is told of both.
MOMENTS = (
    "channel_squared_mean",
    "channel_variance",
    "residual_variance",
    "shifted_channel_squared_mean",
    "shifted_channel_variance",
    "shifted_residual_variance",
)
SHIFT_FIGURES = (
    "log2_variance_ratio",
    "log2_residual_variance_ratio",
    "squared_mean_change",
    "style_share",
    "style_shift",
    "deviation_shift",
    "correlation",
    "signal_kept",
)
_WHOLE = ("seed", "block", "stage", "channels", "height", "width", "nonfinite")
_TEXT = ("shift", "name")
SHIFT_COLUMNS = (
    "seed", "shift", "block", "stage", "name", "channels", "height", "width", *MOMENTS, *SHIFT_FIGURES, "nonfinite",
)  # fmt: skip


def build_shift_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with the columns of ``SHIFT_COLUMNS``; what is missing or None is an absent value."""
    rows = list(rows)
    columns = {column: pd.Series([row.get(column) for row in rows], dtype=_dtype(column)) for column in SHIFT_COLUMNS}
    return pd.DataFrame(columns)


def write_shift_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table with nine significant digits; whole or not at all.

    An absent value is an empty cell; one that is not finite because the signal is not is written ``nan`` or ``inf``.
    """
    with replacing(path) as temporary:
        write_rows(temporary, SHIFT_COLUMNS, _iter_cells(table))


def _iter_cells(table: pd.DataFrame) -> Iterator[list[str]]:
    for row in table.to_dict("records"):
        yield [_cell(column, row[column], lost=row["nonfinite"] > 0) for column in SHIFT_COLUMNS]


def _cell(column: str, value: Any, *, lost: bool) -> str:
    if column in _TEXT:
        return str(value)
    if column in _WHOLE:
        return "" if pd.isna(value) else str(int(value))
    if math.isnan(value):
        return "nan" if lost else ""
    return format(value, ".9g")


def _dtype(column: str) -> str:
    if column in _WHOLE:
        return "Int64"
    return "string" if column in _TEXT else "float64"
