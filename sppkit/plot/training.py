"""A training: the curves of its steps over each other, and how every block changed from step to step."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize, to_hex

from sppkit.errors import UsageError
from sppkit.plot.curves import build_curve, finite_values, lost_rows
from sppkit.plot.figure import COLUMNS_OF_PANELS, build_figure, check_table, drawn_statistics, set_up_panel
from sppkit.plot.save import styled
from sppkit.plot.scale import needs_log
from sppkit.plot.spp import LOST, draw_zeros, split_stem
from sppkit.record.table import STEP

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sppkit.plot.curves import Values

# More curves than this lie on each other; the map below shows every step.
MOST_CURVES = 40
# The light end of the steps' colours would vanish on white paper.
STEP_COLOURS = ListedColormap(colormaps["plasma"](np.linspace(0.0, 0.88, 256)))
VALUE_COLOURS = colormaps["viridis"]
ABSENT = "0.88"


def plot_training(table: pd.DataFrame, *, title: str | None = None, subtitle: str | None = None) -> Figure:
    """Draw a training: for each statistic the curve over the blocks, coloured by step, and a map of steps × blocks.

    Up to 40 steps, evenly spread, have a curve; the map shows all of them. What is grey there was not measured, as a
    layer that a step skipped; what is orange was not finite.

    Args:
        table: Of a monitor, or read from its CSV; of several seeds the first is drawn. It is not changed.
        title: What was trained.
        subtitle: How.

    Returns:
        A figure 12 inches wide, independent of ``matplotlib.pyplot``; ``save_figure`` writes it.

    Raises:
        UsageError: If the table has no steps.
    """
    check_table(table)
    if STEP not in table:
        raise UsageError("this table has no steps: plot_spp draws it.")
    table = table[table["seed"] == table["seed"].iloc[0]]
    statistics = drawn_statistics([table])
    columns = min(len(statistics), COLUMNS_OF_PANELS)
    rows = 2 * math.ceil(len(statistics) / columns)
    steps = Normalize(float(table[STEP].min()), max(float(table[STEP].max()), float(table[STEP].min()) + 1))
    with styled():
        figure = build_figure(title, subtitle, panels=rows * COLUMNS_OF_PANELS)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_visible(False)
        for index, statistic in enumerate(statistics):
            row, column = divmod(index, columns)
            _draw_curves(grid[2 * row, column], table, statistic, steps)
            _draw_map(grid[2 * row + 1, column], table, statistic)
        place: dict[str, Any] = {"location": "bottom", "aspect": 60, "fraction": 0.03, "pad": 0.02, "shrink": 0.4}
        bar = figure.colorbar(ScalarMappable(steps, STEP_COLOURS), ax=list(grid.flat), **place)
        bar.outline.set_visible(False)
        bar.set_label("step of a curve")
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return figure


def _draw_curves(axes: Axes, table: pd.DataFrame, statistic: str, steps: Normalize) -> None:
    axes.set_visible(True)
    set_up_panel(axes, [table], statistic, relative=False)
    alive = finite_values(table, statistic).notna()  # what was lost has no curve, and takes no other's place
    for step in _spread_out(table.loc[alive, STEP].unique().tolist()):
        curve, _ = split_stem(axes, build_curve(table[table[STEP] == step], statistic))
        colour = to_hex(STEP_COLOURS(steps(step)))
        axes.plot(curve.blocks, curve.centre, color=colour, linewidth=1.1)
        draw_zeros(axes, curve, colour)


def _spread_out(steps: Sequence[int]) -> list[int]:
    chosen = np.linspace(0, len(steps) - 1, min(len(steps), MOST_CURVES)).round().astype(int)
    return [steps[index] for index in chosen] if steps else []


def _draw_map(axes: Axes, table: pd.DataFrame, statistic: str) -> None:
    axes.set_visible(True)
    axes.grid(visible=False)
    axes.set(xlabel="block index", ylabel="step")
    values = _by_step(table, finite_values(table, statistic))
    blocks, steps = values.columns.to_numpy(dtype=float), values.index.to_numpy(dtype=float)
    numbers = values.to_numpy(dtype=float)
    # A first row without this statistic, as the stem has no branch, is none to show.
    edges = _edges(blocks), _edges(steps)
    axes.pcolormesh(*edges, np.zeros_like(numbers), cmap=ListedColormap([ABSENT]), rasterized=True)
    lost = lost_rows(table, statistic)
    if len(lost):
        marks = _by_step(lost, lost["block"] * 0.0).reindex(index=values.index, columns=values.columns)
        axes.set_title("orange: not finite", fontsize=8.5, color=LOST, pad=3)
        axes.pcolormesh(*edges, marks.to_numpy(dtype=float), cmap=ListedColormap([LOST]), rasterized=True)
    if np.isfinite(numbers).any():
        norm, kept = _norm(numbers)
        mesh = axes.pcolormesh(*edges, kept, cmap=VALUE_COLOURS, norm=norm, rasterized=True)
        bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02, aspect=18)
        bar.outline.set_visible(False)


def _by_step(table: pd.DataFrame, values: pd.Series[float]) -> pd.DataFrame:
    cells = table[[STEP, "block"]].astype(int).assign(value=values.astype(float))
    return cells.pivot_table(values="value", index=STEP, columns="block", dropna=False)


def _norm(numbers: Values) -> tuple[Normalize, Any]:
    finite = numbers[np.isfinite(numbers)]
    if not needs_log(finite):
        return Normalize(min(0.0, float(finite.min())), float(finite.max()) or 1.0), numbers
    low, high = float(finite[finite > 0].min()), float(finite.max())
    return LogNorm(low, high), np.where(numbers > 0, numbers, np.where(np.isnan(numbers), np.nan, low))


def _edges(centres: Values) -> Values:
    """Return where the cells around given places end; the outermost are as wide as their neighbours."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    inner = [(a + b) / 2 for a, b in pairwise(centres)]
    return np.array([2 * centres[0] - inner[0], *inner, 2 * centres[-1] - inner[-1]])
