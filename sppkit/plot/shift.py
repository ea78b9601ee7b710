"""What a shift does to a signal, block by block: one line per network or per shift."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from sppkit.errors import UsageError
from sppkit.plot.comparison import looks
from sppkit.plot.curves import build_curve, count_seeds, stage_starts
from sppkit.plot.figure import COLUMNS_OF_PANELS, PLAIN, build_figure, draw_stages, finish
from sppkit.plot.save import styled
from sppkit.record.shift_table import INPUT, SHIFT_COLUMNS, SHIFT_FIGURES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sppkit.plot.comparison import Look

from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

# Of the eight figures, those that several shifts of several networks have room for: a row for each shift.
MAIN = ("log2_variance_ratio", "squared_mean_change", "style_shift", "signal_kept")
COLUMNS = 4
# Narrower panels need less height: inches, of each row but the first.
LESS = -0.4
TITLES = {
    "log2_variance_ratio": "log2 variance ratio",
    "log2_residual_variance_ratio": "log2 residual variance ratio",
    "squared_mean_change": "squared mean change / variance",
    "style_share": "style share (unshifted)",
    "style_shift": "style shift (means)",
    "deviation_shift": "style shift (log deviations)",
    "correlation": "correlation",
    "signal_kept": "signal kept",
}
# Where nothing has changed.
UNCHANGED = {"log2_variance_ratio": 0.0, "log2_residual_variance_ratio": 0.0, "squared_mean_change": 0.0,
             "correlation": 1.0, "signal_kept": 1.0}  # fmt: skip
LOGARITHMIC = {"style_shift", "deviation_shift"}
# A logarithmic axis goes down by no more from the largest value: what is below is nothing.
DECADES = 6
# On a shorter one, powers of ten alone are too few ticks.
MANY = 60.0
# A signal twice as far as another picture's is not told from one that is farther.
LOWEST_KEPT = -1.0
MOST = 32
LONGEST = 60
# With more blocks, the tick of the input would lie on that of block 0.
TICKED = 30
# Where the input stands on a relative axis.
BEFORE = -0.06
# With fewer, both have room.
APART = 8


def plot_shift(
    tables: Mapping[str, pd.DataFrame] | pd.DataFrame, *, title: str | None = None, subtitle: str | None = None
) -> Figure:
    """Draw what shifts do to the signal of one network or of several.

    Of one network the lines are its shifts, and of one shift they are the networks: all eight figures have a panel.
    Several shifts of several networks have a row of the four main figures for each shift. The first point of every line
    is the input itself, left of block 0. Several seeds are drawn as their mean in a band from the smallest to the
    largest. A line that ends or has a gap is where no style is left to be compared.

    Args:
        tables: One table of ``measure_shift``, or what the legend calls a network, to its table.
        title: What the networks have in common.
        subtitle: How they were measured.

    Returns:
        A figure 12 inches wide, independent of ``matplotlib.pyplot``; ``save_figure`` writes it.

    Raises:
        UsageError: If there is no table or more than 32, or one of them is none of ours.
    """
    named = {"": tables} if isinstance(tables, pd.DataFrame) else dict(tables)
    _check(named)
    shifts = list(dict.fromkeys(str(text) for table in named.values() for text in table["shift"]))
    if len(named) == 1:
        [table] = named.values()
        rows = [("", {shift: table[table["shift"] == shift] for shift in shifts})]
    else:
        rows = [(shift, {name: table[table["shift"] == shift] for name, table in named.items()}) for shift in shifts]
    figures = SHIFT_FIGURES if len(rows) == 1 else MAIN
    with styled():
        high = len(rows) * len(figures) // COLUMNS
        extra = LESS * (high - 1)
        figure = build_figure(title, subtitle, panels=high * COLUMNS_OF_PANELS, extra_height=extra)
        grid = figure.subplots(high, COLUMNS, squeeze=False)
        for index, (heading, lines) in enumerate(rows):
            panels = grid[index : index + 1] if len(rows) > 1 else grid
            for axes, name in zip(panels.flat, figures, strict=True):
                _draw_panel(axes, lines, name)
            if heading:
                panels[0, 0].set_ylabel(_short(heading), fontsize=9)
        names = list(rows[0][1]) if len(named) > 1 else [_short(shift) for shift in shifts]
        finish(figure, _entries(names), min(len(names), COLUMNS))
    return figure


def _check(tables: Mapping[str, pd.DataFrame]) -> None:
    if not 1 <= len(tables) <= MOST:
        raise UsageError(f"a plot of shifts takes from 1 to {MOST} tables, not {len(tables)}.")
    for table in tables.values():
        missing = [column for column in SHIFT_COLUMNS if column not in table]
        if missing:
            raise UsageError(f"this is no table of measure_shift: it has no column {missing[0]!r}.")
        if table.empty:
            raise UsageError("the table has no rows: there is nothing to plot.")


def _draw_panel(axes: Axes, lines: Mapping[str, pd.DataFrame], name: str) -> None:
    axes.set_title(TITLES[name], fontsize=9.5, pad=14)
    last = max(int(table["block"].max()) for table in lines.values())
    relative = len({int(table["block"].max()) for table in lines.values()}) > 1
    if name in UNCHANGED:
        axes.axhline(UNCHANGED[name], color="0.75", linewidth=0.9, zorder=0.5)
    for table, look in zip(lines.values(), looks(len(lines)), strict=True):
        _draw_line(axes, table, name, look, 1 / max(1, int(table["block"].max())) if relative else 1.0)
    _scale_x(axes, last, relative=relative)
    _scale_y(axes, name)
    starts = [stage_starts(table) for table in lines.values()]
    if not relative and len(starts[0]) > 1 and all(other == starts[0] for other in starts):
        draw_stages(axes, starts[0])
    if all(table[name].isna().all() for table in lines.values()):
        text = "no residual branch" if name == "log2_residual_variance_ratio" else "no style left"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.4", bbox=PLAIN)
        axes.set_yticks([])


def _draw_line(axes: Axes, table: pd.DataFrame, name: str, look: Look, scale: float) -> None:
    curve = build_curve(table, name, geometric=name in LOGARITHMIC and bool((table[name].dropna() > 0).all()))
    blocks = np.where(curve.blocks == INPUT, BEFORE if scale < 1 else INPUT, curve.blocks * scale)
    every = max(1, len(blocks) // 6)
    mark: dict[str, Any] = {"marker": look.marker, "markersize": 3.5, "markevery": (int(look.offset * every), every)}
    axes.plot(blocks, curve.centre, **look.line(), **mark)
    if count_seeds(table) > 1:
        axes.fill_between(blocks, curve.low, curve.high, color=look.colour, alpha=0.15, linewidth=0)


def _scale_x(axes: Axes, last: int, *, relative: bool) -> None:
    if relative:
        axes.set_xlim(BEFORE - 0.04, 1.02)
        axes.set_xlabel("fraction of the depth", fontsize=8.5)
        return
    axes.set_xlim(INPUT - max(0.5, 0.02 * last), last + max(0.5, 0.02 * last))
    ticks = [int(tick) for tick in MaxNLocator(nbins=5, integer=True).tick_values(0, last) if 0 <= tick <= last]
    labels = list(map(str, ticks))
    if last <= TICKED:
        kept = 0 if last <= APART else 1
        ticks, labels = [INPUT, *ticks[kept:]], ["in", *labels[kept:]]
    axes.set_xticks(ticks, labels)
    axes.set_xlabel("block index", fontsize=8.5)


def _scale_y(axes: Axes, name: str) -> None:
    # As many ticks wherever the figure is saved: matplotlib's own number of them depends on the style then.
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    finite = values[np.isfinite(values)]
    if not len(finite):
        return
    if name in LOGARITHMIC:
        positive = finite[finite > 10.0**-DECADES * max(0.0, float(finite.max()))]
        if len(positive):
            low, high = float(positive.min()) / 1.5, float(positive.max()) * 2
            axes.set_yscale("log")
            axes.set_ylim(low, high)
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high > MANY * low else (1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
    elif name == "signal_kept":
        axes.set_ylim(max(LOWEST_KEPT, float(finite.min()) - 0.05), 1.05)
    elif name == "style_share":
        axes.set_ylim(0, max(0.05, float(finite.max()) * 1.1))


def _entries(names: Sequence[str]) -> list[tuple[str, Line2D]]:
    return [
        (name, Line2D([], [], **look.line(), marker=look.marker, markersize=3.5))
        for name, look in zip(names, looks(len(names)), strict=True)
    ]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 + 5 :]}"
