"""The Signal Propagation Plot: how the statistics of the signal change from block to block.

Brock, De & Smith, "Characterizing signal propagation to close the performance gap in unnormalized ResNets", ICLR 2021,
arXiv:2101.08692, section 3.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, TextArea

from sppkit.errors import UsageError
from sppkit.plot.curves import build_curve, count_seeds, has_finite, has_nonpositive, lost_rows, stage_starts
from sppkit.plot.figure import (
    LETTER,
    PANEL_POINTS,
    PLAIN,
    build_figure,
    check_table,
    draw_panels,
    drawn_statistics,
    finish,
    labelled,
    set_up_panel,
)
from sppkit.plot.save import styled
from sppkit.plot.span import BAND_SPREADS, predicted_band
from sppkit.record.table import STEP, is_measured

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.figure import Figure

    from sppkit.plot.curves import Curve

# Okabe & Ito's blue and vermilion: told apart with every kind of colour vision, and by lightness and shape in grey.
MEASURED = "#0072B2"
LOST = "#D55E00"
YARDSTICK = "0.45"
PREDICTED = "0.1"  # near black: seen on top of the curve that it agrees with

# Up to here markers of 4 points stand clear of each other: a panel is about 240 points wide.
MARKED_BLOCKS = 40
LOST_FONT = 8.5
STEM_HEIGHT = 0.97
LOST_HEIGHT = 0.97  # of the panel: the marks stay under the edge, the stage numbers are above it


def plot_spp(
    table: pd.DataFrame,
    *,
    title: str | None = None,
    subtitle: str | None = None,
    ax: Axes | Sequence[Axes] | None = None,
) -> Figure:
    """Draw channel squared mean, channel variance and residual variance against the block index, side by side.

    With several seeds the line is their mean, arithmetic on a linear axis and geometric on a logarithmic one (but
    arithmetic where there are zeros), in a band from the smallest to the largest. A column ``predicted_<statistic>`` is
    drawn dashed in the statistic's panel, with ``predicted_<statistic>_spread`` (one standard deviation, absolute) in a
    grey band of two to either side: of a gradient, whose deviations multiply, of two of its logarithm. Where a value is
    not finite, the panel says from which block on. A stem that would take most of an axis from the blocks is an arrow
    with its value. Further statistics in the table have rows of panels below.

    Args:
        table: As made by ``build_table`` or ``read_csv``; it is not changed.
        title: What was measured, for instance ``"nf-resnet-50"``.
        subtitle: How, for instance ``"Gaussian input 8x3x224x224, train mode, seed 0"``.
        ax: Axes of yours to draw into, one for each panel, as ``plt.subplots(1, 3)`` returns them; titles are then
            yours, too, and the last of them has the legend.

    Returns:
        A figure of 12 by 3.8 inches, higher with further panels, independent of ``matplotlib.pyplot``;
        ``save_figure`` writes it. With ``ax`` the figure that they belong to.

    Raises:
        UsageError: If it is no table, or that of a training, or if there are too few axes, or a title for yours.
    """
    check_table(table)
    if STEP in table:
        raise UsageError("this is the table of a training: plot_training draws it.")
    if ax is not None:
        return _draw_into([ax] if isinstance(ax, Axes) else list(np.ravel(cast("Any", ax))), table, title or subtitle)
    with styled():
        figure = build_figure(title, subtitle, panels=len(drawn_statistics([table])))
        _draw_all(draw_panels(figure, [table]), table)
        finish(figure)
    return figure


def _draw_into(given: Sequence[Axes], table: pd.DataFrame, heading: str | None) -> Figure:
    statistics = drawn_statistics([table])
    if heading:
        raise UsageError("title= and subtitle= belong to a figure of sppkit's; with ax= it is yours.")
    if len(given) != len(statistics):
        names = ", ".join(statistics)
        raise UsageError(
            f"ax= needs one Axes for each of {len(statistics)} panels ({names}), not {len(given)}.\n"
            f"Try figure, ax = plt.subplots(1, {len(statistics)})."
        )
    with styled():
        panels = list(zip(given, statistics, strict=True))
        for axes, statistic in panels:
            set_up_panel(axes, [table], statistic, relative=False)
        _draw_all(panels, table)
        entries = labelled(given)
        given[-1].legend([artist for _, artist in entries], [label for label, _ in entries])
    return cast("Figure", given[0].get_figure(root=True))


def _draw_all(panels: Sequence[tuple[Axes, str]], table: pd.DataFrame) -> None:
    label = _mean_label(table, panels)
    for axes, statistic in panels:
        # What was only predicted has no curve, and no place in the legend.
        if is_measured(table, statistic):
            _draw_measured(axes, table, statistic, label)
        _draw_predicted(axes, table, statistic)


def is_geometric(axes: Axes, table: pd.DataFrame, column: str) -> bool:
    """Tell whether the centre over seeds is the geometric mean: on a logarithmic axis, if all values have a logarithm.

    Args:
        axes: The column's panel.
        table: One of its tables.
        column: A statistic or prediction.

    Returns:
        Whether it is.
    """
    return axes.get_yscale() == "log" and not has_nonpositive(table, column)


def split_stem(axes: Axes, curve: Curve) -> tuple[Curve, float | None]:
    """Take a stem that is above the axis out of a curve: a line to it would be drawn all across the panel.

    Args:
        axes: The curve's panel.
        curve: A statistic or prediction.

    Returns:
        The curve without it, and its value or None.
    """
    above = (curve.blocks == 0) & (curve.centre > axes.get_ylim()[1])
    if not above.any():
        return curve, None
    rest = {name: np.where(above, np.nan, getattr(curve, name)) for name in ("centre", "low", "high")}
    return replace(curve, **rest), float(curve.centre[above][0])


def draw_zeros(axes: Axes, curve: Curve, colour: str) -> None:
    """Mark the zeros of a curve at the edge of a logarithmic axis, which has no place for them.

    Args:
        axes: The curve's panel.
        curve: A statistic.
        colour: Of the marks.
    """
    zeros = curve.blocks[curve.centre == 0]
    if axes.get_yscale() == "log" and len(zeros):
        transform = axes.get_xaxis_transform()
        line = axes.plot(zeros, np.full(len(zeros), 0.02), transform=transform, color=colour, label="exactly 0")[0]
        line.set(linestyle="", marker="v", markersize=5)


def _draw_measured(axes: Axes, table: pd.DataFrame, statistic: str, label: str) -> None:
    curve = build_curve(table, statistic, geometric=is_geometric(axes, table, statistic))
    curve, stem = split_stem(axes, curve)
    if stem is not None:
        _draw_stem(axes, stem)
    marker = "o" if len(curve.blocks) <= MARKED_BLOCKS + 1 else ""  # and the stem
    width = 1.5 if len(curve.blocks) <= PANEL_POINTS else 0.9  # several blocks a point would run into a solid area
    axes.plot(curve.blocks, curve.centre, color=MEASURED, linewidth=width, marker=marker, markersize=3.2, label=label)
    if count_seeds(table) > 1:
        _draw_band(axes, curve)
    starts = list(stage_starts(table).values())
    if len(starts) > 1:
        _draw_transitions(axes, curve, starts)
    draw_zeros(axes, curve, MEASURED)
    if statistic == "channel_squared_mean":
        _draw_yardstick(axes, table)
    _draw_lost(axes, table, statistic)


def _draw_predicted(axes: Axes, table: pd.DataFrame, statistic: str) -> None:
    column, spread = f"predicted_{statistic}", f"predicted_{statistic}_spread"
    if column not in table or not has_finite(table, column):
        return
    curve = build_curve(table, column, geometric=is_geometric(axes, table, column))
    curve, stem = split_stem(axes, curve)
    if stem is not None and not is_measured(table, statistic):
        _draw_stem(axes, stem, PREDICTED)
    axes.plot(curve.blocks, curve.centre, color=PREDICTED, linewidth=1.0, linestyle=(0, (4, 2.5)), label="predicted")
    if spread in table and table[spread].notna().any():
        is_log = axes.get_yscale() == "log"
        low, high = predicted_band(statistic, curve.centre, build_curve(table, spread).centre, logarithmic=is_log)
        # A mean of squares is never below 0, however wide the band.
        low = np.maximum(low, max(0.0, axes.get_ylim()[0]))
        band = axes.fill_between(curve.blocks, low, high, color=PREDICTED, alpha=0.12, linewidth=0)
        band.set(label=f"predicted ± {BAND_SPREADS:g} standard deviations of one seed", zorder=0.8)


def _draw_yardstick(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the variance into the squared mean's panel: beside it a squared mean is large or small."""
    curve, _ = split_stem(axes, build_curve(table, "channel_variance"))
    low, high = axes.get_ylim()
    seen = np.flatnonzero((curve.centre >= low) & (curve.centre <= high))
    if not seen.size:
        return
    axes.plot(curve.blocks, curve.centre, color=YARDSTICK, linewidth=1.0, linestyle=(0, (1, 2)), zorder=1.5)
    place = curve.blocks[seen[-1]], curve.centre[seen[-1]]
    text = TextArea("variance", textprops={"color": YARDSTICK, "fontsize": LOST_FONT})
    beside: dict[str, Any] = {
        "xybox": (0, 5),
        "boxcoords": "offset points",
        "box_alignment": (1, 0),
        "frameon": False,
        "pad": 0,
    }
    axes.add_artist(AnnotationBbox(text, place, **beside))


def _draw_stem(axes: Axes, value: float, colour: str = MEASURED) -> None:
    """Mark a stem above the axis by an arrow with its value."""
    at = axes.get_xaxis_transform()
    line = axes.plot([0], [STEM_HEIGHT], color=colour, transform=at)[0]
    line.set(linestyle="", marker="^", markersize=5)
    write_stem(axes, f"stem {value:.3g}", colour)


def write_stem(axes: Axes, text: str, colour: str) -> None:
    """Write beside the mark of a stem that is above the axis.

    Args:
        axes: The panel.
        text: What to write.
        colour: Of the text.
    """
    at = axes.get_xaxis_transform()
    beside = axes.annotate(text, (0, STEM_HEIGHT), xycoords=at, xytext=(6, 0), textcoords="offset points")
    beside.set(verticalalignment="center", fontsize=LOST_FONT, color=colour, bbox=PLAIN)


def _draw_band(axes: Axes, curve: Curve) -> None:
    low = np.maximum(curve.low, axes.get_ylim()[0])  # a logarithmic axis has no place for 0: down to its edge
    band = axes.fill_between(curve.blocks, low, curve.high, color=MEASURED, alpha=0.25, linewidth=0)
    band.set_label("min to max of seeds")


def _draw_transitions(axes: Axes, curve: Curve, blocks: list[int]) -> None:
    at = np.isin(curve.blocks, blocks)
    if at.any():
        x, y = curve.blocks[at], curve.centre[at]
        line = axes.plot(x, y, color=MEASURED, markerfacecolor="white", label="first block of a stage", zorder=3)[0]
        line.set(linestyle="", marker="D", markersize=5, markeredgewidth=1.3)


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
    geometric = [name.replace("_", " ") for axes, name in panels if is_geometric(axes, table, name)]
    if len(geometric) == len(panels):
        return f"geometric mean of {seeds} seeds"
    if len(geometric) > 1:  # their names would be longer than the figure
        return f"mean of {seeds} seeds (geometric on logarithmic axes)"
    return f"mean of {seeds} seeds" + (f" (geometric: {geometric[0]})" if geometric else "")
