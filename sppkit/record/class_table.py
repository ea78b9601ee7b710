"""Tables that are no run's: one row per class, or per block and class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.machine.files import replacing

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV with nine significant digits; an absent value is an empty cell. Whole or not at all.

    Args:
        table: Any table.
        path: The file to create or replace.
    """
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.9g", lineterminator="\n", encoding="utf-8")
