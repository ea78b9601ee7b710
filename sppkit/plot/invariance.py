"""Invariance in a picture: eKLD and consistency of each class, and how it arises from block to block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap, LogNorm, Normalize, to_hex
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from sppkit.errors import UsageError
from sppkit.plot.figure import build_figure, finish
from sppkit.plot.save import styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The light end of the classes' colours would vanish on white paper.
CLASS_COLOURS = ListedColormap(colormaps["viridis"](np.linspace(0.0, 0.85, 256)))
ALL = "black"
# More classes than this have no names beside their points.
MOST_NAMED = 20
# Room beside the first and the last class on a logarithmic axis.
_MARGIN = 1.35
SIZE = "train_size"


def plot_invariance(
    classes: pd.DataFrame, blocks: pd.DataFrame, *, title: str | None = None, subtitle: str | None = None
) -> Figure:
    """Draw eKLD and consistency of each class, with standard errors, and signal-to-shift from block to block.

    Against the number of training examples on a logarithmic axis, where the table has them; else class by class.

    Args:
        classes: As ``invariance`` returns it. It is not changed.
        blocks: As ``invariance_by_block`` returns it, of the same classes.
        title: What was measured.
        subtitle: How.

    Returns:
        A figure 12 inches wide, independent of ``matplotlib.pyplot``; ``save_figure`` writes it.

    Raises:
        UsageError: If a table lacks its columns or has no rows.
    """
    _check(classes, ("class", "ekld", "ekld_se", "consistency", "consistency_se"), "invariance")
    _check(blocks, ("block", "name", "class", "signal_to_shift"), "invariance_by_block")
    if classes.empty:
        raise UsageError("the table of invariance has no rows: there is nothing to plot.")
    with styled():
        figure = build_figure(title, subtitle)
        left, middle, right = figure.subplots(1, 3)
        _draw_classes(left, classes, "ekld", "eKLD (nats)")
        _draw_classes(middle, classes, "consistency", "consistency")
        middle.set_ylim(0, 1.02)
        lines = _draw_blocks(right, classes, blocks)
        finish(figure, lines)
    return figure


def _check(table: pd.DataFrame, columns: Sequence[str], made_by: str) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise UsageError(f"this is not a table of {made_by}: it has no column {missing[0]!r}.")


def _draw_classes(axes: Axes, classes: pd.DataFrame, column: str, title: str) -> None:
    axes.set_title(title, fontsize=10.5)
    colours = _colours(classes)
    sized = SIZE in classes
    positions = classes[SIZE].astype(float).tolist() if sized else list(range(len(classes)))
    places = zip(positions, classes[column], classes[f"{column}_se"], classes["class"], strict=True)
    for x, value, error, label in places:
        colour = colours[label]
        axes.errorbar(
            x, value, yerr=None if error != error else error, fmt="o", color=colour, markersize=4.5, capsize=2
        )
    if sized:
        _scale_sizes(axes, positions)
    else:
        axes.set_xlabel("class")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _name_classes(axes, classes)
    finite = classes[column][np.isfinite(classes[column])]
    axes.set_ylim(0, max(1e-12, 1.12 * float((finite + classes[f"{column}_se"].fillna(0)).max())) if len(finite) else 1)


def _scale_sizes(axes: Axes, sizes: Sequence[float]) -> None:
    axes.set_xlabel("training examples of the class")
    if min(sizes) <= 0:  # a class that was never trained
        return
    axes.set_xscale("log")
    axes.set_xlim(min(sizes) / _MARGIN, max(sizes) * _MARGIN)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _name_classes(axes: Axes, classes: pd.DataFrame) -> None:
    names = classes.get("class_name", classes["class"]).astype(str).tolist()
    if len(names) <= MOST_NAMED:
        axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0, parse_math=False)


def _draw_blocks(axes: Axes, classes: pd.DataFrame, blocks: pd.DataFrame) -> list[tuple[str, Artist]]:
    axes.set_title("signal-to-shift of pooled features", fontsize=10.5)
    axes.set_xlabel("block index")
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.axhline(1, color="0.6", linewidth=0.8)
    entries: list[tuple[str, Artist]] = []
    colours = _colours(classes)
    for label, own in blocks.dropna(subset="class").groupby("class", sort=True):
        (line,) = axes.plot(own["block"], own["signal_to_shift"], color=colours[label], linewidth=1.0, alpha=0.9)
        entries.append((_entry(classes, label), line))
    everything = blocks[blocks["class"].isna()]
    (line,) = axes.plot(
        everything["block"], everything["signal_to_shift"], color=ALL, linewidth=2.0, marker="o", markersize=3
    )
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    shown = blocks["signal_to_shift"]
    low = float(shown.min()) if shown.notna().any() else 0.0
    axes.set_ylim(min(-0.05, 1.1 * low), 1.05)
    if not shown.notna().any():
        axes.text(0.5, 0.5, "nothing to compare", transform=axes.transAxes, ha="center", va="center", color="0.4")
    return [("all pictures", line), *_extremes(classes, entries)]


def _entry(classes: pd.DataFrame, label: object) -> str:
    row: dict[Any, Any] = classes[classes["class"] == label].to_dict("records")[0]
    name = str(row.get("class_name", f"class {label}"))
    return f"{name}, {row[SIZE]} examples" if SIZE in row else name


def _extremes(classes: pd.DataFrame, entries: list[tuple[str, Artist]]) -> list[tuple[str, Artist]]:
    """Return legend entries of the classes, or of the largest and the smallest where the colours tell the size."""
    if SIZE not in classes:
        return entries if len(entries) <= MOST_NAMED // 2 else []
    order = classes[SIZE].astype(float).to_numpy().argsort(kind="stable")
    return [entries[order[-1]], entries[order[0]]]


def _colours(classes: pd.DataFrame) -> dict[object, str]:
    """Return a colour per class: by the logarithm of its training size, or by its position."""
    if SIZE in classes:
        sizes = classes[SIZE].astype(float)
        low, high = float(sizes.min()), float(sizes.max())
        norm: Normalize = LogNorm(low, high) if 0 < low < high else Normalize(0, max(high, 1))
        values = sizes.tolist()
    else:
        norm, values = Normalize(0, max(len(classes) - 1, 1)), list(range(len(classes)))
    return {label: to_hex(CLASS_COLOURS(norm(value))) for label, value in zip(classes["class"], values, strict=True)}
