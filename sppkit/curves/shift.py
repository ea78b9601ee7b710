"""The table of a shift as curves: one per shift and figure, over the input and the blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sppkit.record.shift_table import SHIFT_FIGURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    Values = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class ShiftCurves:
    """One shift of one network, the mean over seeds; NaN where there is no number.

    Attributes:
        shift: As it was typed.
        blocks: Block indices, ascending; the first one is that of the input, -1.
        names: What the rows are called.
        figures: By the name of a column, one value per block.
        lost: Whether a row's signal has values that are not finite.
    """

    shift: str
    blocks: Values
    names: tuple[str, ...]
    figures: Mapping[str, Values]
    lost: Values

    @property
    def start(self) -> float:
        """The style shift where it enters: the larger of the input's and the first block's."""
        return float(np.nanmax(self.figures["style_shift"][:2], initial=-np.inf))

    @property
    def without_style(self) -> list[str]:
        """The blocks behind which no style is left: their style shift has no number, though they are finite."""
        missing = np.isnan(self.figures["style_shift"]) & (self.lost == 0)
        return [name for name, gone in zip(self.names, missing, strict=True) if gone]

    def summary(self) -> list[str]:
        """Return what a row of a summary says: the style shift where it enters, at most and at the end; and the end."""
        style = self.figures["style_shift"]
        last = [style[-1], 2 ** self.figures["log2_variance_ratio"][-1], self.figures["signal_kept"][-1]]
        return [_shown(value) for value in (self.start, np.nanmax(style, initial=-np.inf), *last)]


def read_shifts(table: pd.DataFrame) -> list[ShiftCurves]:
    """Return the curves of a table, one for each of its shifts, in order."""
    return [_read(str(shift), rows) for shift, rows in table.groupby("shift", sort=False)]


def _read(shift: str, rows: pd.DataFrame) -> ShiftCurves:
    by_block = rows.groupby("block")
    figures = {name: by_block[name].mean().to_numpy(dtype=float) for name in SHIFT_FIGURES}
    blocks = by_block["block"].first().to_numpy(dtype=float)
    names = tuple(map(str, by_block["name"].first()))
    lost = by_block["nonfinite"].sum().to_numpy(dtype=float)
    return ShiftCurves(shift, blocks, names, figures, lost)


def _shown(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "none"
