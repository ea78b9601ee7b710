"""Several runs in one Signal Propagation Plot: same axes, one legend."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sppkit.errors import UsageError
from sppkit.plot.curves import build_curve, count_seeds, finite_values, has_finite, has_lost, last_block, lost_rows
from sppkit.plot.figure import LETTER, SIZE, build_figure, check_table, draw_panels, drawn_statistics, finish, labelled
from sppkit.plot.save import styled
from sppkit.plot.span import off_axis
from sppkit.plot.spp import PREDICTED, STEM_HEIGHT, draw_zeros, is_geometric, split_stem, write_stem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sppkit.plot.curves import Curve

# Okabe & Ito's colours without yellow, which white paper swallows, and with a wine red in its place; neighbours differ
# in lightness, so that they do in grey.
COLOURS = ("#0072B2", "#D55E00", "#000000", "#009E73", "#CC79A7", "#882255", "#56B4E9", "#E69F00")
# In points of the line's width: solid, dashed, dash-dotted, short dashes.
STYLES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (6, 1.5, 1.2, 1.5)), (0, (2, 1.2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
# The first line is the widest: one that lies on it leaves its edges to be seen.
WIDEST, NARROWEST = 2.0, 1.1
MARKS = 6  # along a line, at other blocks than its neighbour's
# More predictions than this are a second set of curves to be told apart.
MOST_PREDICTIONS = 4
LEGEND_FONT = 8.5
LEGEND_KEY = 4.5  # em: the line beside a label, and the gap to the next column
LEGEND_ROW = 0.17  # inches
# Of the panel: between the marks of networks that were lost, and for all of them, under the room that they have.
LOST_STEP, LOST_ROOM = 0.04, 0.12
LONGEST_LABEL = 70
SEEDS_NOTE = "line: mean over seeds; band: min to max"
# What the legend may say besides the names of the runs.
_NOTES = (SEEDS_NOTE, "predicted")


@dataclass(frozen=True)
class Look:
    """What tells a line from its neighbours: three ways, so that one of them may fail."""

    colour: str
    style: Any
    marker: str
    width: float
    offset: float

    def line(self) -> dict[str, Any]:
        """Return the look as matplotlib's arguments for a line.

        Returns:
            Argument name to value.
        """
        return {"color": self.colour, "linestyle": self.style, "linewidth": self.width}


def plot_comparison(
    tables: Mapping[str, pd.DataFrame], *, title: str | None = None, subtitle: str | None = None
) -> Figure:
    """Draw the statistics of several runs over each other, one line per run.

    The x axis is the block index, or the fraction of the depth where the runs have different numbers of blocks. Several
    seeds are drawn as their mean (arithmetic on a linear axis, geometric on a logarithmic one) in a band from the
    smallest to the largest. Up to four runs with ``predicted_<statistic>`` columns show them as dotted lines. A run
    whose values are not finite has a cross where that begins, and the legend says the block. Where up to a third of the
    runs would press all others into one line, they leave the panel at an arrow, and the legend says how far they go.

    Args:
        tables: What the legend calls a run, to its table as made by ``build_table`` or ``read_csv``; from 1 to 32 runs,
            drawn in their order. The tables are not changed.
        title: What the runs have in common, for instance ``"depth 600"``.
        subtitle: How they were measured.

    Returns:
        A figure 12 inches wide, independent of ``matplotlib.pyplot``; ``save_figure`` writes it.

    Raises:
        UsageError: If there is no table or more than 32, or one of them is none of ours.
    """
    most = len(COLOURS) * len(STYLES)
    if not 1 <= len(tables) <= most:
        raise UsageError(f"a comparison takes from 1 to {most} tables, not {len(tables)}.")
    for table in tables.values():
        check_table(table)
    statistics = drawn_statistics(list(tables.values()))
    drawn = [_to_draw(table, statistics, predictions=len(tables) <= MOST_PREDICTIONS) for table in tables.values()]
    off = {statistic: off_axis(drawn, statistic) for statistic in statistics}
    labels = [
        _label(name, table, statistics, [statistic for statistic in statistics if index in off[statistic]])
        for index, (name, table) in enumerate(zip(tables, drawn, strict=True))
    ]
    relative = len(set(map(last_block, drawn))) > 1
    columns = _legend_columns([*labels, *_NOTES])
    with styled():
        rows = math.ceil((len(labels) + len(_NOTES)) / columns)
        figure = build_figure(title, subtitle, panels=len(statistics), extra_height=LEGEND_ROW * (rows - 1))
        for axes, statistic in draw_panels(figure, drawn, relative=relative):
            _draw_runs(axes, drawn, statistic, relative=relative)
        finish(figure, _entries(figure, labels, drawn), columns)
    return figure


def looks(count: int) -> list[Look]:
    """Return ways to draw so many lines, no two alike in colour and kind of line.

    Args:
        count: Up to 32.

    Returns:
        One look per line.
    """
    # Eight colours and four styles: the second time round each colour has the next style.
    styles = [STYLES[(index + index // len(COLOURS)) % len(STYLES)] for index in range(count)]
    widths = np.linspace(WIDEST, NARROWEST, count) if count > 1 else [WIDEST]
    return [
        Look(colour, style, marker, float(width), index / count)
        for index, (colour, style, marker, width) in enumerate(
            zip(islice(cycle(COLOURS), count), styles, islice(cycle(MARKERS), count), widths, strict=True)
        )
    ]


def _draw_runs(axes: Axes, tables: Sequence[pd.DataFrame], statistic: str, *, relative: bool) -> None:
    stems, marked = [], [has_lost(table, statistic) for table in tables]
    step = min(LOST_STEP, LOST_ROOM / max(1, sum(marked)))
    for index, (table, look) in enumerate(zip(tables, looks(len(tables)), strict=True)):
        scale = 1 / max(1, last_block(table)) if relative else 1.0
        stem = _draw_run(axes, table, statistic, look, scale)
        if stem is not None:
            stems.append(stem)
        if marked[index]:
            _draw_lost(axes, table, statistic, look, scale, STEM_HEIGHT - step * sum(marked[:index]))
    for table in tables:
        _draw_predicted(axes, table, statistic, 1 / max(1, last_block(table)) if relative else 1.0)
    if stems:
        ends = list(dict.fromkeys(f"{value:.3g}" for value in (min(stems), max(stems))))
        write_stem(axes, f"stem{'s' * (len(stems) > 1)} {' to '.join(ends)}", "0.25")


def _draw_run(axes: Axes, table: pd.DataFrame, statistic: str, look: Look, scale: float) -> float | None:
    curve, stem = split_stem(axes, _build(axes, table, statistic, scale))
    every = max(1, len(curve.blocks) // MARKS)
    mark: dict[str, Any] = {"marker": look.marker, "markersize": 4.0, "markevery": (int(look.offset * every), every)}
    axes.plot(curve.blocks, curve.centre, **look.line(), **mark)
    _draw_leaving(axes, curve, look)
    if stem is not None:
        [arrow] = axes.plot([0], [STEM_HEIGHT], color=look.colour, transform=axes.get_xaxis_transform())
        arrow.set(linestyle="", marker="^", markersize=5)
    if count_seeds(table) > 1:
        low = np.maximum(curve.low, axes.get_ylim()[0])
        axes.fill_between(curve.blocks, low, curve.high, color=look.colour, alpha=0.15, linewidth=0)
    draw_zeros(axes, curve, look.colour)
    return stem


def _draw_leaving(axes: Axes, curve: Curve, look: Look) -> None:
    top = axes.get_ylim()[1]
    above = np.flatnonzero(curve.centre > top)
    if not len(above):
        return
    # Where the line crosses the edge: between the first block above it and the one before.
    at = slice(max(0, above[0] - 1), above[0] + 1)
    x = (
        np.interp(top, curve.centre[at], curve.blocks[at])
        if np.isfinite(curve.centre[at]).all()
        else curve.blocks[at][-1]
    )
    [arrow] = axes.plot([x], [STEM_HEIGHT], color=look.colour, transform=axes.get_xaxis_transform())
    arrow.set(linestyle="", marker="^", markersize=7)


def _build(axes: Axes, table: pd.DataFrame, column: str, scale: float) -> Curve:
    curve = build_curve(table, column, geometric=is_geometric(axes, table, column))
    return replace(curve, blocks=curve.blocks * scale)


def _draw_predicted(axes: Axes, table: pd.DataFrame, statistic: str, scale: float) -> None:
    if f"predicted_{statistic}" in table and has_finite(table, f"predicted_{statistic}"):
        curve, _ = split_stem(axes, _build(axes, table, f"predicted_{statistic}", scale))
        axes.plot(curve.blocks, curve.centre, color=PREDICTED, linewidth=0.9, linestyle=(0, (1, 1.6)),
                  label="predicted")  # fmt: skip


def _draw_lost(axes: Axes, table: pd.DataFrame, statistic: str, look: Look, scale: float, height: float) -> None:
    blocks = np.unique(lost_rows(table, statistic)["block"].to_numpy(dtype=int))
    transform = axes.get_xaxis_transform()
    bars = (blocks - 0.5) * scale, (blocks + 0.5) * scale
    axes.hlines([height] * len(blocks), *bars, look.colour, linewidth=1.2, transform=transform)
    [cross] = axes.plot(blocks[:1] * scale, [height], color=look.colour, transform=transform)
    cross.set(linestyle="", marker="x", markersize=7, markeredgewidth=2.0)


def _entries(figure: Figure, labels: Sequence[str], tables: Sequence[pd.DataFrame]) -> list[tuple[str, Artist]]:
    entries: list[tuple[str, Artist]] = [
        (label, Line2D([], [], **look.line(), marker=look.marker, markersize=4.0))
        for label, look in zip(labels, looks(len(labels)), strict=True)
    ]
    if any(count_seeds(table) > 1 for table in tables):
        entries.append((SEEDS_NOTE, Patch(facecolor="0.4", alpha=0.25)))
    return entries + labelled(figure.axes)


def _label(name: str, table: pd.DataFrame, statistics: Sequence[str], off: Sequence[str]) -> str:
    half = LONGEST_LABEL // 2
    said = [name if len(name) <= LONGEST_LABEL else f"{name[: half - 2]} ... {name[3 - half :]}"]
    if off:  # the last of them is the nearest to the signal's strength
        said.append(f"off the axis: {off[-1].replace('_', ' ')} up to {finite_values(table, off[-1]).max():.3g}")
    lost = [int(lost_rows(table, statistic)["block"].min()) for statistic in statistics
            if has_lost(table, statistic)]  # fmt: skip
    if lost:
        said.append(f"non-finite from block {min(lost)}")
    return said[0] + (f" ({'; '.join(said[1:])})" if said[1:] else "")


def _legend_columns(labels: Sequence[str]) -> int:
    # matplotlib fills column by column, the first ones with one label more; each is as wide as its longest label.
    widths = [(len(label) * LETTER + LEGEND_KEY) * LEGEND_FONT / 72 for label in labels]
    fitting = (
        columns for columns in range(len(labels), 1, -1)
        if sum(float(max(part)) for part in np.array_split(widths, columns)) <= SIZE[0]
    )  # fmt: skip
    return next(fitting, 1)


def _to_draw(table: pd.DataFrame, statistics: Sequence[str], *, predictions: bool) -> pd.DataFrame:
    # A run may lack what another one measured. Bands are never drawn here: several of them would cover each other.
    missing = {name: np.nan for name in statistics if name not in table}
    predicted = [column for column in table if str(column).startswith("predicted_")]
    unused = [column for column in predicted if not predictions or str(column).endswith("_spread")]
    return table.drop(columns=unused).assign(**missing)
