"""What every figure of tables shares: its header, panels with their axes and stages, and one legend."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from sppkit.errors import UsageError
from sppkit.plot.curves import has_lost, is_layered, last_block, stage_starts
from sppkit.plot.scale import scale_y
from sppkit.plot.span import off_axis, span
from sppkit.record.table import COLUMNS, STATISTIC_COLUMNS, is_measured, why_empty
from sppkit.registry import FURTHER_STATISTICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

COLUMNS_OF_PANELS = 3
FURTHER_ROW = 3.1  # inches, of each row of panels but the first, which has the header and the legend beside it
ROW_SPACE = 0.03  # of a panel's height, between a row and the titles of the next
SIZE = (12.0, 3.8)  # inches: printed at the 6 to 7 inches of a page's width, 9 point text is still 5 points high
DPI = 200
PANEL_POINTS = 240  # the width of a panel
LETTER = 0.6  # em: the mean width of a letter of DejaVu Sans
STAGE_FONT = 7.5
PLAIN = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}  # behind text, where stage lines would cross it
# What a linear axis should show besides 0: a branch that preserves variance has 1.
REFERENCE = {"residual_variance": 1.0}
# What is multiplied from block to block, so that equal factors are equal steps of a logarithmic axis.
MULTIPLIED = {"gradient_second_moment"}


def check_table(table: pd.DataFrame) -> None:
    """Refuse a frame that is no table, or an empty one."""
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise UsageError(f"this is not a table of sppkit: it has no column {missing[0]!r}.")
    if table.empty:
        raise UsageError("the table has no rows: there is nothing to plot.")


def drawn_statistics(tables: Sequence[pd.DataFrame]) -> list[str]:
    """Return the statistics that have a panel: the three of the plot, and what else any of the tables holds."""
    further = [name for name in FURTHER_STATISTICS if any(name in table for table in tables)]
    spp = any(is_measured(table, name) for table in tables for name in STATISTIC_COLUMNS)
    # Layers of a network without residual joins have no branch: the other two panels take its room.
    usual = STATISTIC_COLUMNS[:-1] if all(map(is_layered, tables)) else STATISTIC_COLUMNS
    return [*(usual if spp or not further else ()), *further]


def build_figure(
    title: str | None, subtitle: str | None, *, panels: int = COLUMNS_OF_PANELS, extra_height: float = 0.0
) -> Figure:
    """Return a figure with its header and room for its panels, three in a row."""
    rows = math.ceil(panels / COLUMNS_OF_PANELS)
    height = SIZE[1] + (rows - 1) * FURTHER_ROW + extra_height
    figure = Figure(figsize=(SIZE[0], height), dpi=DPI)
    top = 1.0  # of what is left for the panels; matplotlib's own suptitle has one font size only
    for text, size, weight in ((title, 13, "bold"), (subtitle, 9.5, "normal")):
        if text:
            top -= 0.35 * size / 72 / height
            figure.text(0.5, top, text, ha="center", va="top", fontsize=size, weight=weight, parse_math=False)
            top -= 1.2 * size / 72 / height
    engine = ConstrainedLayoutEngine(rect=(0, 0, 1, top - 0.01), w_pad=0.08, h_pad=0.04, wspace=0.03)
    if rows > 1:
        engine.set(hspace=ROW_SPACE)
    figure.set_layout_engine(engine)
    return figure


def draw_panels(figure: Figure, tables: Sequence[pd.DataFrame], *, relative: bool = False) -> list[tuple[Axes, str]]:
    """Add the panels in which the tables will be drawn: titles, both axes, and the stages."""
    statistics = drawn_statistics(tables)
    columns = min(len(statistics), COLUMNS_OF_PANELS)
    rows = math.ceil(len(statistics) / columns)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in grid[len(statistics) :]:
        unused.remove()
    panels = list(zip(grid, statistics, strict=False))
    for axes, statistic in panels:
        set_up_panel(axes, tables, statistic, relative=relative)
    return panels


def finish(figure: Figure, entries: Sequence[tuple[str, Artist]] | None = None, columns: int = 0) -> None:
    """Draw one legend for all panels below them, each label once, and lay the figure out for good."""
    if entries is None:
        entries = labelled(figure.axes)
    # A user's text: matplotlib would leave out one that begins with an underscore, and read dollars as mathematics.
    names = [f"run {index}" for index in range(len(entries))]
    artists = [artist for _, artist in entries]
    legend = figure.legend(artists, names, loc="outside lower center", ncols=columns or len(entries))
    for text, (label, _) in zip(legend.get_texts(), entries, strict=True):
        text.set_text(label)
        text.set_parse_math(False)
    # The engine would lay each format out anew, at its own resolution and from where the last one left the panels.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def labelled(panels: Sequence[Axes]) -> list[tuple[str, Artist]]:
    """Return the labels of all panels' artists, each once, in the order of drawing."""
    entries: dict[str, Artist] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    return list(entries.items())


def set_up_panel(axes: Axes, tables: Sequence[pd.DataFrame], statistic: str, *, relative: bool) -> None:
    """Title a statistic's panel and set both of its axes."""
    axes.set_title(statistic.replace("_", " "), fontsize=10.5, pad=16)
    axes.set_xlabel(_x_label(tables, relative=relative))
    _scale_x(axes, 1 if relative else max(map(last_block, tables)), whole=not relative)
    off = off_axis(tables, statistic)
    values, leaves_out = span([table for index, table in enumerate(tables) if index not in off], statistic)
    lost = any(has_lost(table, statistic) for table in tables)
    leaves_out |= bool(off)
    headroom = lost or leaves_out
    scale_y(axes, values, reference=REFERENCE.get(statistic, 0.0), headroom=headroom, log=statistic in MULTIPLIED)
    starts = [stage_starts(table) for table in tables]
    # One stage is none to tell apart.
    if len(starts[0]) > 1 and all(other == starts[0] for other in starts) and not relative:
        draw_stages(axes, starts[0])
    if np.isnan(values).all() and not lost:
        text = _why_empty(tables, statistic)
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.4", bbox=PLAIN)


def _x_label(tables: Sequence[pd.DataFrame], *, relative: bool) -> str:
    kinds = {"layer" if is_layered(table) else "block" for table in tables}
    unit = kinds.pop() if len(kinds) == 1 else "block or layer"
    return f"fraction of the depth ({unit} / last {unit})" if relative else f"{unit} index"


def _why_empty(tables: Sequence[pd.DataFrame], statistic: str) -> str:
    if statistic in FURTHER_STATISTICS:
        return why_empty(statistic)
    # A run of --stats channel_squared_mean has no variance either; a model without joins lacks the branch alone.
    others = [name for name in STATISTIC_COLUMNS if name != statistic]
    everything_else = all(is_measured(table, name) for table in tables for name in others)
    return why_empty(statistic) if everything_else else "not measured"


def _scale_x(axes: Axes, last: int, *, whole: bool) -> None:
    # Half a block, and never less than a marker needs.
    margin = max(0.5, 0.02 * last) if whole else 0.02
    axes.set_xlim(-margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=whole, min_n_ticks=1))


def draw_stages(axes: Axes, starts: dict[int, int]) -> None:
    """Draw a light line before each stage and its number above the panel, as far as there is room."""
    left, right = axes.get_xlim()
    edges = [start - 0.5 for start in starts.values()]
    axes.vlines(edges, 0, 1, color="0.8", linewidth=0.8, zorder=0.5, transform=axes.get_xaxis_transform())
    widths = np.diff([*edges, right]) * PANEL_POINTS / (right - left)
    labels = _stage_labels(list(starts), widths.tolist())
    for middle, label in zip(edges + np.diff([*edges, right]) / 2, labels, strict=True):
        if label:
            _write_above(axes, float(middle), label)
    if any(label.isdigit() for label in labels):
        _write_above(axes, left, "stage", "right")


def _stage_labels(stages: Sequence[int], widths: Sequence[float]) -> list[str]:
    long, short = [f"stage {stage}" for stage in stages], [str(stage) for stage in stages]
    if all(_fits(label, width) for label, width in zip(long, widths, strict=True)):
        return long
    return [label if _fits(label, width) else "" for label, width in zip(short, widths, strict=True)]


def _fits(label: str, width: float) -> bool:
    # One more letter is the gap to the neighbour.
    return (len(label) + 1) * LETTER * STAGE_FONT <= width


def _write_above(axes: Axes, x: float, label: str, align: str = "center") -> None:
    axes.text(
        x, 1.02, label, transform=axes.get_xaxis_transform(), ha=align, va="bottom", fontsize=STAGE_FONT, color="0.4"
    )
