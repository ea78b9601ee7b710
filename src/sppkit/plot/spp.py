"""The Signal Propagation Plot: how the statistics of the signal change from block to block.

Brock, De & Smith, "Characterizing signal propagation to close the performance gap in unnormalized ResNets", ICLR 2021,
arXiv:2101.08692, section 3.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from sppkit.errors import UsageError
from sppkit.plot.curves import (
    build_curve,
    count_seeds,
    finite_values,
    has_nonpositive,
    lost_rows,
    stage_starts,
)
from sppkit.plot.save import styled
from sppkit.plot.scale import dwarfs, scale_y
from sppkit.table import COLUMNS, STATISTIC_COLUMNS, is_measured

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from sppkit.plot.curves import Curve, Values

SIZE = (12.0, 3.8)  # inches: printed at the 6 to 7 inches of a page's width, 9 point text is still 5 points high
DPI = 200

# Okabe & Ito's blue and vermilion: told apart with every kind of colour vision, and by lightness and shape in grey.
MEASURED = "#0072B2"
LOST = "#D55E00"
PREDICTED = "0.1"  # near black: seen on top of the curve that it agrees with

# Up to here markers of 4 points stand clear of each other: a panel is about 240 points wide.
MARKED_BLOCKS = 40
PANEL_POINTS = 240
LETTER = 0.6  # em: the mean width of a letter of DejaVu Sans
STAGE_FONT = 7.5
LOST_FONT = 8.5
STEM_HEIGHT = 0.97
LOST_HEIGHT = 0.97  # of the panel: the marks stay under the edge, the stage numbers are above it
PLAIN = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}  # behind text, where stage lines would cross it
# What a linear axis should show besides 0: a branch that preserves variance has 1.
REFERENCE = {"residual_variance": 1.0}


def plot_spp(table: pd.DataFrame, *, title: str | None = None, subtitle: str | None = None) -> Figure:
    """Draw channel squared mean, channel variance and residual variance against the block index, side by side.

    With several seeds the line is their mean, arithmetic on a linear axis and geometric on a logarithmic one (but
    arithmetic where there are zeros), in a band from the smallest to the largest. A column ``predicted_<statistic>`` is
    drawn dashed in the statistic's panel. Where a value is not finite, the panel says from which block on. A stem that
    would take most of an axis from the blocks is an arrow with its value.

    Args:
        table: As made by ``build_table`` or ``read_csv``; it is not changed.
        title: What was measured, for instance ``"nf-resnet-50"``.
        subtitle: How, for instance ``"Gaussian input 8x3x224x224, train mode, seed 0"``.

    Returns:
        A figure of 12 by 3.8 inches, independent of ``matplotlib.pyplot``; ``save_figure`` writes it.
    """
    _check_columns(table)
    with styled():
        figure = Figure(figsize=SIZE, dpi=DPI)
        _draw_header(figure, title, subtitle)
        panels = list(zip(figure.subplots(1, len(STATISTIC_COLUMNS)), STATISTIC_COLUMNS, strict=True))
        for axes, statistic in panels:
            set_up_panel(axes, [table], statistic)
        label = _mean_label(table, panels)
        for axes, statistic in panels:
            draw_measured(axes, table, statistic, label, MEASURED)
            draw_predicted(axes, table, statistic, "predicted", PREDICTED)
        finish(figure)
    return figure


def set_up_panel(axes: Axes, tables: Sequence[pd.DataFrame], statistic: str) -> None:
    """Prepare a panel in which the tables will be drawn: title, both axes, and the stages of the first table.

    Args:
        axes: An empty panel.
        tables: All the tables that will be drawn in it.
        statistic: One of ``STATISTIC_COLUMNS``.
    """
    axes.set_title(statistic.replace("_", " "), fontsize=10.5, pad=16)
    axes.set_xlabel("block index")
    scale_x(axes, max(int(table["block"].max()) for table in tables))
    stem, blocks = _values(tables, statistic)
    leaves_out = dwarfs(stem, blocks)
    values = blocks if leaves_out else np.concatenate([stem, blocks])
    lost = any(len(lost_rows(table, statistic)) for table in tables)
    scale_y(axes, values, reference=REFERENCE.get(statistic, 0.0), headroom=lost or leaves_out)
    draw_stages(axes, stage_starts(tables[0]))
    if np.isnan(values).all() and not lost:
        text = _why_empty(tables, statistic)
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.4", bbox=PLAIN)


def _values(tables: Sequence[pd.DataFrame], statistic: str) -> tuple[Values, Values]:
    """Return everything that will be drawn at the stem, and at the other blocks."""
    columns = (statistic, f"predicted_{statistic}")
    drawn = [(table["block"] == 0, finite_values(table, column)) for table in tables for column in columns
             if column in table]  # fmt: skip
    return np.concatenate([values[stem] for stem, values in drawn]), np.concatenate([
        values[~stem] for stem, values in drawn
    ])


def _why_empty(tables: Sequence[pd.DataFrame], statistic: str) -> str:
    # A run of --stats channel_squared_mean has no variance either; a model without joins lacks the branch alone.
    others = [name for name in STATISTIC_COLUMNS if name != statistic]
    everything_else = all(is_measured(table, name) for table in tables for name in others)
    return "no residual branch" if statistic == "residual_variance" and everything_else else "not measured"


def scale_x(axes: Axes, last: int) -> None:
    """Set the x axis to blocks 0 ... last, with ticks at whole numbers.

    Args:
        axes: The panel.
        last: The largest block index.
    """
    margin = max(0.5, 0.02 * last)  # half a block, and never less than a marker needs
    axes.set_xlim(-margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def draw_stages(axes: Axes, starts: dict[int, int]) -> None:
    """Draw a light line before each stage and its number above the panel, as far as there is room.

    Args:
        axes: A panel whose x axis is set.
        starts: The first block of each stage.
    """
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


def draw_measured(axes: Axes, table: pd.DataFrame, statistic: str, label: str, colour: str) -> None:
    """Draw a statistic of a table: line, band over the seeds, markers, and whatever has no place on the axis.

    Args:
        axes: A panel prepared by ``set_up_panel``.
        table: One of the tables that the panel was prepared for.
        statistic: One of ``STATISTIC_COLUMNS``.
        label: What the legend calls the line.
        colour: Of line, band and markers.
    """
    curve = build_curve(table, statistic, geometric=_is_geometric(axes, table, statistic))
    curve = _draw_left_out(axes, curve, colour)
    marker = "o" if len(curve.blocks) <= MARKED_BLOCKS + 1 else ""  # and the stem
    width = 1.5 if len(curve.blocks) <= PANEL_POINTS else 0.9  # several blocks a point would run into a solid area
    axes.plot(curve.blocks, curve.centre, color=colour, linewidth=width, marker=marker, markersize=3.2, label=label)
    if count_seeds(table) > 1:
        _draw_band(axes, curve, colour)
    _draw_transitions(axes, curve, list(stage_starts(table).values()), colour)
    _draw_zeros(axes, curve, colour)
    _draw_lost(axes, table, statistic)


def draw_predicted(axes: Axes, table: pd.DataFrame, statistic: str, label: str, colour: str) -> None:
    """Draw the prediction of a statistic dashed, if the table has one.

    Args:
        axes: A panel prepared by ``set_up_panel``.
        table: One of the tables that the panel was prepared for.
        statistic: One of ``STATISTIC_COLUMNS``.
        label: What the legend calls the line.
        colour: Of the line.
    """
    if f"predicted_{statistic}" in table:
        column = f"predicted_{statistic}"
        curve = build_curve(table, column, geometric=_is_geometric(axes, table, column))
        axes.plot(curve.blocks, curve.centre, color=colour, linewidth=1.0, linestyle=(0, (4, 2.5)), label=label)


def finish(figure: Figure) -> None:
    """Draw one legend for all panels below them, each label once, and lay the figure out for good.

    Args:
        figure: With its panels drawn, inside ``styled``.
    """
    entries = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        entries.update(dict(zip(labels, handles, strict=True)))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=len(entries))
    # The engine would lay each format out anew, at its own resolution and from where the last one left the panels.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _is_geometric(axes: Axes, table: pd.DataFrame, column: str) -> bool:
    return axes.get_yscale() == "log" and not has_nonpositive(table, column)


def _draw_left_out(axes: Axes, curve: Curve, colour: str) -> Curve:
    """Mark a stem above the axis by an arrow with its value."""  # noqa: DOC201
    above = (curve.blocks == 0) & (curve.centre > axes.get_ylim()[1])
    if not above.any():
        return curve
    at = axes.get_xaxis_transform()
    line = axes.plot(curve.blocks[above], [STEM_HEIGHT], color=colour, transform=at)[0]
    line.set(linestyle="", marker="^", markersize=5)
    value = f"stem {curve.centre[above][0]:.3g}"
    beside = axes.annotate(value, (0, STEM_HEIGHT), xycoords=at, xytext=(6, 0), textcoords="offset points")
    beside.set(verticalalignment="center", fontsize=LOST_FONT, color=colour, bbox=PLAIN)
    # Without it: a line to a point outside would be drawn all across the panel.
    return replace(curve, **{name: np.where(above, np.nan, getattr(curve, name)) for name in ("centre", "low", "high")})


def _draw_band(axes: Axes, curve: Curve, colour: str) -> None:
    low = np.maximum(curve.low, axes.get_ylim()[0])  # a logarithmic axis has no place for 0: down to its edge
    axes.fill_between(curve.blocks, low, curve.high, color=colour, alpha=0.25, linewidth=0, label="min to max of seeds")


def _draw_transitions(axes: Axes, curve: Curve, blocks: list[int], colour: str) -> None:
    at = np.isin(curve.blocks, blocks)
    if at.any():
        x, y = curve.blocks[at], curve.centre[at]
        line = axes.plot(x, y, color=colour, markerfacecolor="white", label="first block of a stage", zorder=3)[0]
        line.set(linestyle="", marker="D", markersize=5, markeredgewidth=1.3)


def _draw_zeros(axes: Axes, curve: Curve, colour: str) -> None:
    zeros = curve.blocks[curve.centre == 0]
    if axes.get_yscale() == "log" and len(zeros):
        transform = axes.get_xaxis_transform()
        line = axes.plot(zeros, np.full(len(zeros), 0.02), transform=transform, color=colour, label="exactly 0")[0]
        line.set(linestyle="", marker="v", markersize=5)


def _draw_lost(axes: Axes, table: pd.DataFrame, statistic: str) -> None:
    lost = lost_rows(table, statistic)
    if lost.empty:
        return
    blocks = np.unique(lost["block"].to_numpy(dtype=int))
    transform = axes.get_xaxis_transform()
    axes.hlines([LOST_HEIGHT] * len(blocks), blocks - 0.5, blocks + 0.5, LOST, linewidth=2, transform=transform)
    first = axes.plot(blocks[:1], [LOST_HEIGHT], color=LOST, transform=transform)[0]
    first.set(linestyle="", marker="x", markersize=8, markeredgewidth=2.2)
    _write_under(axes, int(blocks[0]), f"non-finite from block {blocks[0]}{_some_seeds(table, lost)}")


def _write_under(axes: Axes, block: int, text: str) -> None:
    # Centred on the mark, as far as that keeps the text inside the panel.
    left, right = axes.get_xlim()
    half = len(text) * LETTER * LOST_FONT / PANEL_POINTS / 2
    x = min(max((block - left) / (right - left), half), 1 - half)
    axes.text(x, 0.93, text, transform=axes.transAxes, ha="center", va="top", fontsize=LOST_FONT, color=LOST)


def _some_seeds(table: pd.DataFrame, lost: pd.DataFrame) -> str:
    ours, all_seeds = count_seeds(lost), count_seeds(table)
    return "" if ours == all_seeds else f" ({ours} of {all_seeds} seeds)"


def _mean_label(table: pd.DataFrame, panels: Sequence[tuple[Axes, str]]) -> str:
    seeds = count_seeds(table)
    if seeds == 1:
        return "measured"
    geometric = [name.replace("_", " ") for axes, name in panels if _is_geometric(axes, table, name)]
    if len(geometric) == len(panels):
        return f"geometric mean of {seeds} seeds"
    return f"mean of {seeds} seeds" + (f" (geometric: {', '.join(geometric)})" if geometric else "")


def _draw_header(figure: Figure, title: str | None, subtitle: str | None) -> None:
    top = 1.0  # of what is left for the panels; matplotlib's own suptitle has one font size only
    for text, size, weight in ((title, 13, "bold"), (subtitle, 9.5, "normal")):
        if text:
            top -= 0.35 * size / 72 / SIZE[1]
            figure.text(0.5, top, text, ha="center", va="top", fontsize=size, weight=weight, parse_math=False)
            top -= 1.2 * size / 72 / SIZE[1]
    figure.set_layout_engine(ConstrainedLayoutEngine(rect=(0, 0, 1, top - 0.01), w_pad=0.08, h_pad=0.04, wspace=0.03))


def _check_columns(table: pd.DataFrame) -> None:
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise UsageError(f"this is not a table of sppkit: it has no column {missing[0]!r}.")
    if table.empty:
        raise UsageError("the table has no rows: there is nothing to plot.")
