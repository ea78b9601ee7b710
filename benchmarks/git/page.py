"""Tables and pictures of docs/git.md, from the networks on record and the generators that were kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.git.train import METHODS, ORDERS, THRESHOLD, generator_file, long_tail, results
from sppkit.inputs.shifts.generative.generator import Generator
from sppkit.inputs.shifts.generative.quality import draw_grid
from sppkit.plot.save import save_figure, styled
from sppkit.plot.transformed import plot_transformed

ROOT = Path(__file__).parents[2]
PAGE, IMAGES = ROOT / "docs/git.md", ROOT / "docs/images"
WRITTEN = re.compile(r"(<!-- python -m benchmarks.git page -->\n).*?(<!-- end -->)", re.DOTALL)
TITLES = {
    "erm": "plain (ERM)",
    "drs": "delayed resampling (DRS)",
    "git": f"DRS + GIT, classes of at most {THRESHOLD}",
    "git-ramp": f"DRS + GIT, ramp up to {THRESHOLD}",
    "git-all": "DRS + GIT, all classes",
    "oracle": "DRS + the nuisance itself",
}
COLOURS = {"erm": "0.55", "drs": "#b3541e", "git": "#1f5fa8", "oracle": "#2e7d32"}
_ROWS, _STYLES = 5, 8


def values(nuisance: str, method: str, column: str) -> np.ndarray[Any, Any]:
    """Return what was measured, shape (sets, ranks)."""
    found = {item["order"]: item for item in results() if (item["nuisance"], item["method"]) == (nuisance, method)}
    return np.array([found[order][column] for order in ORDERS])


def groups(nuisance: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return which ranks are classes of more than the threshold, and which are not."""
    sizes = values(nuisance, "erm", "sizes")[0]
    return sizes > THRESHOLD, sizes <= THRESHOLD


def by_group(nuisance: str, method: str, column: str) -> list[np.ndarray[Any, Any]]:
    """Return the means over the large classes and over the small ones, one per set."""
    return [values(nuisance, method, column)[:, ranks].mean(1) for ranks in groups(nuisance)]


def table(nuisance: str) -> str:
    """Return a table of the methods: means over the sets, and their standard deviation."""
    lines = [
        f"| `{nuisance}` | eKLD, large | eKLD, small | small: change from DRS | right under T, large | small |",
        "|---|---|---|---|---|---|",
    ]
    reference = by_group(nuisance, "drs", "ekld")[1]
    for method in METHODS[nuisance]:
        large, small = by_group(nuisance, method, "ekld")
        right = by_group(nuisance, method, "transformed_accuracy")
        change = "" if method == "drs" else _spread(small - reference, sign="+")
        lines.append(
            f"| {TITLES[method]} | {_spread(large)} | {_spread(small)} | {change} | "
            + " | ".join(f"{100 * item.mean():.1f} %" for item in right)
            + " |"
        )
    return "\n".join(lines)


def learned() -> str:
    """Return a table of what the generators have learned."""
    lines = [
        "| nuisance | rebuilt to within | style changes by | content changes by | style read back | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for nuisance in METHODS:
        found = [item for item in results() if (item["nuisance"], item["method"]) == (nuisance, "generator")]
        grey = [
            f"{255 * np.mean([item[name] for item in found]):.0f}"
            for name in ("reconstruction", "style_effect", "content_effect")
        ]
        back, seconds = ([item[name] for item in found] for name in ("style_recovered", "seconds"))
        lines.append(
            f"| `{nuisance}` | {' | '.join(grey)} | {np.mean(back):.2f} | {min(seconds):.0f} to {max(seconds):.0f} |"
        )
    return "\n".join(lines)


def _spread(values: np.ndarray[Any, Any], sign: str = "") -> str:
    return f"{values.mean():{sign}.3f} ± {values.std(ddof=1):.3f}"


def tables() -> str:
    """Return all that is written into the page."""
    return "\n\n".join([learned(), *(table(nuisance) for nuisance in METHODS)])


def draw_curves() -> Figure:
    """Draw eKLD by class size: means over the sets, bars of their standard errors."""
    with styled():
        figure = Figure(figsize=(9.6, 3.1), layout="constrained")
        for axes, nuisance in zip(figure.subplots(1, len(METHODS)), METHODS, strict=True):
            for method, colour in COLOURS.items():
                found, sizes = values(nuisance, method, "ekld"), values(nuisance, method, "sizes")[0]
                error = found.std(0, ddof=1) / np.sqrt(len(found))
                axes.errorbar(
                    sizes, found.mean(0), error, color=colour, lw=1.4, marker="o", ms=3, elinewidth=0.8,
                    label=TITLES[method].partition(",")[0],
                )  # fmt: skip
            axes.set_xscale("log")
            axes.set_ylim(bottom=0)
            axes.axvline(THRESHOLD, color="0.6", lw=0.8, ls=":")
            axes.set_title(nuisance, loc="left", size=9)
            axes.set_xlabel("training pictures of the class")
        figure.axes[0].set_ylabel("eKLD (nats)")
        figure.axes[0].legend()
    return figure


def write_page(folder: str) -> None:
    """Write the tables into the page, and the pictures beside it."""
    text, count = WRITTEN.subn(lambda found: f"{found[1]}\n{tables()}\n\n{found[2]}", PAGE.read_text(encoding="utf-8"))
    assert count == 1, f"{PAGE} has no place for the tables"
    PAGE.write_text(text, encoding="utf-8")
    save_figure(draw_curves(), IMAGES / "git-ekld.png")
    for nuisance in METHODS:
        tail = long_tail(nuisance, 0)
        generator = Generator.read(generator_file(folder, nuisance, 0))
        grid = draw_grid(generator, tail.images, tail.labels.numpy(), rows=_ROWS, styles=_STYLES)
        columns = ["picture", "rebuilt", "styles", *[""] * (_STYLES - 1)]
        name = nuisance.partition(":")[0]
        save_figure(plot_transformed(grid, columns, f"learned from {name}"), IMAGES / f"git-{name}.png")
