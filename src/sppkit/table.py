"""The table: one row per (seed, block), in execution order. After measuring, everything reads this and nothing else."""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from sppkit.errors import UsageError
from sppkit.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

# The first columns of every table, in this order; further statistics and predictions come after them.
COLUMNS = (
    "seed",
    "block",
    "stage",
    "name",
    "channels",
    "height",
    "width",
    "channel_squared_mean",
    "channel_variance",
    "residual_variance",
    "nonfinite",
)
STATISTIC_COLUMNS = ("channel_squared_mean", "channel_variance", "residual_variance")
INTEGER_COLUMNS = ("seed", "block", "stage", "channels", "height", "width", "nonfinite")


def build_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with the columns and types of ``COLUMNS``.

    Args:
        rows: One mapping per (seed, block). A key that is missing or None is an absent value; further keys become
            further columns, in the order of their first appearance.

    Returns:
        A DataFrame; integer columns are nullable, statistics are float64, absent values are NaN.
    """
    rows = list(rows)
    further = dict.fromkeys(key for row in rows for key in row if key not in COLUMNS)
    columns = [*COLUMNS, *further]
    data = {column: [row.get(column) for row in rows] for column in columns}
    return pd.DataFrame({column: pd.Series(data[column], dtype=_dtype(column)) for column in columns})


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table with nine significant digits; whole or not at all.

    An absent value is an empty cell. A measured value that is not finite is written ``nan`` or ``inf``: absent and
    not-a-number are both NaN in the DataFrame, told apart by ``nonfinite``.

    Args:
        table: As made by ``build_table``.
        path: The file to create or replace.
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.columns)
        for row in table.to_dict("records"):
            writer.writerow([_cell(column, row) for column in table.columns])


def read_csv(path: Path) -> pd.DataFrame:
    """Read a table written by ``write_csv``, from this machine or another.

    Args:
        path: The CSV file.

    Returns:
        The table, with the types of ``build_table``.

    Raises:
        UsageError: If the file is missing, empty, not a CSV or lacks a column, or a cell does not parse.
    """
    try:
        table = pd.read_csv(path, dtype={"name": "string"}, keep_default_na=False, na_values=[""])
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no run {path}. Measure one first: sppkit plot --arch nf-resnet --depth 50"
        ) from error
    except (OSError, ValueError) as error:  # pandas' parser errors and undecodable bytes are ValueErrors
        raise UsageError(f"{path} can't be read as a table of sppkit: {str(error).splitlines()[0]}") from error
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise UsageError(
            f"{path} is not a table of sppkit: it has no column {missing[0]!r}.\n"
            "A table starts with the columns " + ", ".join(COLUMNS) + "."
        )
    if table.empty:
        raise UsageError(f"{path} has a header but no rows. Measure again: sppkit plot --arch nf-resnet --depth 50")
    for column in table.columns:
        table[column] = _typed(table[column], path)
    return table


def _typed(column: pd.Series[Any], path: Path) -> pd.Series[Any]:
    dtype = _dtype(str(column.name))
    try:
        return cast("pd.Series[Any]", column.astype(dtype))  # type: ignore[call-overload]
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: column {column.name!r} has a cell that is not a number.") from error


def _dtype(column: str) -> str:
    if column in INTEGER_COLUMNS:
        return "Int64"
    return "string" if column == "name" else "float64"


def _cell(column: str, row: Mapping[Any, Any]) -> str:
    value = row[column]
    if column == "name":
        return str(value)
    if column in INTEGER_COLUMNS:
        return "" if pd.isna(value) else str(int(value))
    if math.isnan(value):
        return "nan" if _is_measured_nan(column, row) else ""
    return format(value, ".9g")


def _is_measured_nan(column: str, row: Mapping[Any, Any]) -> bool:
    # The input of the first block has no residual branch, whatever else went wrong in its row.
    nonfinite = row["nonfinite"]
    has_site = not (column == "residual_variance" and row["block"] == 0)
    return has_site and not pd.isna(nonfinite) and nonfinite > 0
