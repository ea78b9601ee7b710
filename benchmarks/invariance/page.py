"""The story as a page: eKLD by rank and method, where in the network it arises, and its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import sppkit
from benchmarks.gate.report import MARK
from benchmarks.invariance.train import FEW_BASES, METHODS, NUISANCES, digits, results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Numbers = np.ndarray[Any, np.dtype[np.float64]]

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "invariance.md"
STORY, EXAMPLES = DOCS / "images" / "invariance.png", DOCS / "images" / "nuisances.png"
# Ranks 4 to 10, of 6 and 5 pictures each.
TAIL = slice(3, None)
_SHOWN = {"dilate:dilation=2,erosion=2": "dilate"}
_COLOURS = {"erm": "C3", "drs": "C1", "drs+oracle": "C0"}
_DRAWS = 7
_DIGITS = (1, 5, 8)


def write_page() -> None:
    """Fill the page's marked parts, and draw its pictures."""
    PAGE.write_text(render_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    _draw_story()
    _draw_examples()


def render_page(page: str) -> str:
    """Return a page with its marked parts filled."""
    parts = {"story": _story(), "blocks": _blocks(), "few": _few_bases()}
    return MARK.sub(lambda found: f"{found[1]}\n{parts[found[2]]}\n\n{found[3]}", page)


def networks(nuisance: str, method: str, bases: int | None = None) -> list[dict[str, Any]]:
    """Return the networks of one kind, one per order of the classes."""
    wanted = (nuisance, method, bases)
    return [found for found in results() if (found["nuisance"], found["method"], found["bases"]) == wanted]


def column(name: str, nuisance: str, method: str, bases: int | None = None) -> Numbers:
    """Return a number of all networks of one kind, shape (orders, ranks)."""
    return np.array([found[name] for found in networks(nuisance, method, bases)])


def block(name: str, nuisance: str, method: str) -> Numbers:
    """Return the signal-to-shift at a block, shape (orders, ranks)."""
    return np.array([found["blocks"][name] for found in networks(nuisance, method)])


def _mean(by_order: Numbers) -> str:
    """Show the mean over orders and its standard error."""
    error = by_order.std(ddof=1) / len(by_order) ** 0.5
    digits_ = 3 if by_order.mean() < 1 else 2
    return f"{by_order.mean():.{digits_}f} ± {error:.{digits_}f}"


def _story() -> str:
    headings = ("nuisance", "method", "eKLD, 100 pictures", "25", "11", "6 and 5", "tail above head in")
    lines = [f"| {' | '.join([*headings, 'confidence, head and tail', 'accuracy, head and tail'])} |"]
    lines.append(f"|---|---|{'--:|' * 7}")
    for nuisance in NUISANCES:
        for method in METHODS:
            ekld = column("ekld", nuisance, method)
            tail = ekld[:, TAIL].mean(axis=1)
            grows = int((tail > ekld[:, 0]).sum())
            cells = [_mean(ekld[:, rank]) for rank in range(3)] + [_mean(tail), f"{grows} of {len(ekld)}"]
            for name in ("confidence", "accuracy"):
                values = column(name, nuisance, method)
                cells.append(f"{values[:, 0].mean():.2f}, {values[:, TAIL].mean():.2f}")
            lines.append(f"| {_SHOWN.get(nuisance, nuisance)} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _blocks() -> str:
    names = list(results()[0]["blocks"])
    lines = [f"| nuisance | method | class | {' | '.join(names)} |", f"|---|---|---|{'--:|' * len(names)}"]
    for nuisance in NUISANCES:
        for method in ("erm", "drs+oracle"):
            for group, ranks in (("head", slice(0, 1)), ("tail", TAIL)):
                cells = (f"{block(name, nuisance, method)[:, ranks].mean():.2f}" for name in names)
                lines.append(f"| {_SHOWN.get(nuisance, nuisance)} | {method} | {group} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _few_bases() -> str:
    lines = ["| nuisance | eKLD, 100 transformations of 5 pictures | 25 | 11 | 6 and 5 | tail above head in |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    for nuisance in NUISANCES:
        ekld = column("ekld", nuisance, "erm", FEW_BASES)
        tail = ekld[:, TAIL].mean(axis=1)
        cells = [_mean(ekld[:, rank]) for rank in range(3)] + [
            _mean(tail),
            f"{(tail > ekld[:, 0]).sum()} of {len(ekld)}",
        ]
        lines.append(f"| {_SHOWN.get(nuisance, nuisance)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _draw_story() -> None:
    from matplotlib.figure import Figure

    from sppkit.plot.save import styled

    with styled():
        figure = Figure(figsize=(11.0, 6.4), layout="constrained")
        grid = figure.subplots(2, len(NUISANCES))
        for (above, below), nuisance in zip(grid.T, NUISANCES, strict=True):
            above.set_title(_SHOWN.get(nuisance, nuisance))
            _draw_ranks(above, nuisance)
            _draw_blocks(below, nuisance)
        grid[0, 0].set_ylabel("eKLD (nats)")
        grid[1, 0].set_ylabel("signal-to-shift")
        grid[0, -1].legend(loc="upper right")
        grid[1, -1].legend(loc="lower right")
        figure.savefig(STORY, dpi=120)


def _draw_ranks(axes: Axes, nuisance: str) -> None:
    sizes = np.array(results()[0]["sizes"], dtype=float)
    for shift, method in zip((0.95, 1.0, 1.05), METHODS, strict=True):
        ekld = column("ekld", nuisance, method)
        by_size = [ekld[:, sizes == size].mean(axis=1) for size in np.unique(sizes)]
        means, deviations = [each.mean() for each in by_size], [each.std(ddof=1) for each in by_size]
        label = {"erm": "ERM", "drs": "delayed resampling", "drs+oracle": "with the nuisance itself"}[method]
        look = {"color": _COLOURS[method], "marker": "o", "markersize": 4, "capsize": 2}
        axes.errorbar(np.unique(sizes) * shift, means, deviations, label=label, **look)
    axes.set_xscale("log")
    axes.set_xticks(np.unique(sizes), [f"{size:.0f}" for size in np.unique(sizes)])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("training pictures of the class")


def _draw_blocks(axes: Axes, nuisance: str) -> None:
    names = list(results()[0]["blocks"])
    for method in ("erm", "drs+oracle"):
        for group, ranks, style in (("100 pictures", slice(0, 1), "-"), ("6 and 5", TAIL, "--")):
            values = [block(name, nuisance, method)[:, ranks].mean() for name in names]
            label = f"{'ERM' if method == 'erm' else 'the nuisance itself'}, {group}"
            axes.plot(names, values, style, color=_COLOURS[method], marker="o", markersize=4, label=label)
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_ylim(top=1.05)


def _draw_examples() -> None:
    from matplotlib.figure import Figure

    pictures, labels, *_ = digits()
    shown = torch.stack([pictures[labels == digit][0] for digit in _DIGITS])
    figure = Figure(figsize=(8.0, 7.2), layout="constrained")
    rows = [(nuisance, row) for nuisance in NUISANCES for row in range(len(_DIGITS))]
    grid = figure.subplots(len(rows), _DRAWS + 1)
    for axes in grid.flat:
        axes.axis("off")
    for nuisance, row in rows:
        own = grid[rows.index((nuisance, row))]
        drawn = [sppkit.apply_shift(shown, nuisance, seed=seed)[row, 0] for seed in range(_DRAWS)]
        for axes, picture in zip(own, [shown[row, 0], *drawn], strict=True):
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
        if row == 0:
            own[0].set_title("as it is", fontsize=8)
            own[1].set_title(nuisance, fontsize=8, loc="left")
    figure.savefig(EXAMPLES, dpi=100)
