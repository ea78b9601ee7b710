"""Pictures of a sweep: a statistic over the blocks of every cell, or one number of each over two axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sppkit.plot.comparison import COLOURS, STYLES
from sppkit.plot.save import styled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    Cells = Sequence[tuple[Mapping[str, str], pd.DataFrame]]

_DPI = 200
_PANEL = (2.6, 2.0)  # inches
_MOST_PANELS = 8  # in a row or a column; what is beyond is not drawn
_MOST_LINES = len(COLOURS)
_MOST_NUMBERS = 144  # squares of a heat map that have their number written into them
# Beyond this ratio of the largest to the smallest an axis is logarithmic.
_WIDE = 30.0
_SEEDS = "seed"


def plot_grid(cells: Cells, statistic: str) -> Figure:
    """Draw a statistic over the blocks: panels by the first two axes, lines by the others, the mean over seeds."""
    axes = [axis for axis in cells[0][0] if axis != _SEEDS and len(_values(cells, axis)) > 1]
    across, down = (*axes[:2], None, None)[:2]
    columns, rows = _values(cells, across)[:_MOST_PANELS], _values(cells, down)[:_MOST_PANELS]
    with styled():
        size = (max(5.0, _PANEL[0] * len(columns) + 0.6), _PANEL[1] * len(rows) + (1.1 if axes[2:] else 0.7))
        figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
        grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex="col", sharey=True)
        lines = list(dict.fromkeys(_line(place, axes[2:]) for place, _ in cells))[:_MOST_LINES]
        drawn: list[float] = []
        for (row, column), panel in np.ndenumerate(grid):
            chosen = [c for c in cells if _at(c[0], down, rows[row]) and _at(c[0], across, columns[column])]
            for number, line in enumerate(lines):
                curve = _mean_curve([table for place, table in chosen if _line(place, axes[2:]) == line], statistic)
                drawn += curve.values()
                look = {"color": COLOURS[number], "linestyle": STYLES[number % len(STYLES)]}
                panel.plot(list(curve), list(curve.values()), label=line, marker="." if len(curve) == 1 else "", **look)
            where = [f"{axis} {value}" for axis, value in ((across, columns[column]), (down, rows[row])) if axis]
            panel.set_title(", ".join(where), fontsize=8.5, parse_math=False)
            panel.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
            if row == len(rows) - 1:
                panel.set_xlabel("block index")
        positive = [value for value in drawn if value > 0]
        if len(positive) == len(drawn) > 0 and max(positive) / min(positive) > _WIDE:
            grid[0, 0].set_yscale("log")
        figure.supylabel(statistic.replace("_", " "), fontsize=9.5)
        if axes[2:]:
            figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(lines)))
    return figure


def plot_heat_map(cells: Cells, axes: Sequence[str], statistic: str) -> Figure:
    """Draw a statistic at the last block over two axes: the mean over seeds and all other axes."""
    across, down = (_values(cells, axis) for axis in axes)
    values = np.full((len(down), len(across)), math.nan)
    for row, column in np.ndindex(values.shape):
        chosen = [t for place, t in cells if place[axes[0]] == across[column] and place[axes[1]] == down[row]]
        ends = [end for table in chosen for end in _ends(table, statistic)]
        values[row, column] = float(np.mean(ends)) if ends else math.nan
    with styled():
        figure = Figure(figsize=(max(4.5, 0.8 * len(across) + 2.5), max(2.6, 0.5 * len(down) + 1.5)), dpi=_DPI)
        figure.set_layout_engine("constrained")
        panel = figure.subplots()
        panel.grid(visible=False)
        panel.set_facecolor("0.85")  # of a cell that is excluded, failed or lost
        finite = values[np.isfinite(values)].tolist()
        wide = len(finite) > 0 and min(finite) > 0 and max(finite) / min(finite) > _WIDE
        image = panel.imshow(values, aspect="auto", cmap="viridis", norm=LogNorm() if wide else None)
        panel.set_xticks(range(len(across)), across, parse_math=False)
        panel.set_yticks(range(len(down)), down, parse_math=False)
        panel.set_xlabel(axes[0])
        panel.set_ylabel(axes[1])
        panel.set_title(f"{statistic.replace('_', ' ')} at the last block", fontsize=10.5)
        figure.colorbar(image)
        if values.size <= _MOST_NUMBERS:
            for (row, column), value in np.ndenumerate(values):
                shade = float(np.asarray(image.norm(value))) if math.isfinite(value) else 1.0
                text = f"{value:.3g}" if math.isfinite(value) else "none"
                panel.text(column, row, text, ha="center", va="center", color="white" if shade < 0.6 else "black")
    return figure


def _values(cells: Cells, axis: str | None) -> list[str]:
    return [""] if axis is None else list(dict.fromkeys(place[axis] for place, _ in cells))


def _at(place: Mapping[str, str], axis: str | None, value: str) -> bool:
    return axis is None or place[axis] == value


def _line(place: Mapping[str, str], axes: Sequence[str]) -> str:
    return ", ".join(f"{axis} {place[axis]}" for axis in axes)


def _mean_curve(tables: Sequence[pd.DataFrame], statistic: str) -> dict[int, float]:
    by_block: dict[int, list[float]] = {}
    for table in tables:
        if statistic in table:
            for block, value in zip(table["block"], table[statistic], strict=True):
                by_block.setdefault(int(block), []).append(float(value))
    means = {block: float(np.mean(values)) for block, values in sorted(by_block.items())}
    return {block: mean for block, mean in means.items() if math.isfinite(mean)}


def _ends(table: pd.DataFrame, statistic: str) -> list[float]:
    if statistic not in table:
        return []
    return [float(value) for value in table.loc[table["block"] == table["block"].max(), statistic]]
