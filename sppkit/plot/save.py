"""The look of every figure, and writing one to a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib import style

from sppkit.errors import UsageError
from sppkit.machine.files import replacing

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from matplotlib.figure import Figure

INK = "0.15"
STYLE: dict[str, Any] = {
    "axes.edgecolor": "0.35",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",  # comes with matplotlib: one look, one layout and the same bytes on every machine
    "font.size": 9,
    "grid.color": "0.92",
    "grid.linewidth": 0.7,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.solid_joinstyle": "round",
    "pdf.fonttype": 42,  # text stays text, as TrueType: some journals refuse the default, Type 3
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "sppkit",  # element ids do not change from run to run
    "text.color": INK,
    "xtick.color": "0.35",
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": "0.35",
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
}
# What changes from run to run is left out of the file.
METADATA: dict[str, dict[str, None]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def styled() -> AbstractContextManager[None]:
    """Return a context in which matplotlib has our look, whatever the user's matplotlibrc says; restored after it."""
    return style.context(["default", STYLE])


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the file's suffix names; whole or not at all, and the same bytes each time."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in METADATA:
        raise UsageError(f"can't draw {path.name}: the format {kind!r} is not one of {', '.join(METADATA)}.")
    with styled(), replacing(path) as temporary:
        figure.savefig(temporary, format=kind, metadata=METADATA[kind])
