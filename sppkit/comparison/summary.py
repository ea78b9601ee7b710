"""A comparison in the terminal: one row per network, and what stands out in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from sppkit.comparison.key_figures import PARTED, key_figures, parting
from sppkit.diagnosis.blocks import listed
from sppkit.diagnosis.diagnose import diagnose
from sppkit.measuring.titles import subtitle, title
from sppkit.record.read import mapping_at, number_at, text_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from sppkit.comparison.key_figures import KeyFigures
    from sppkit.comparison.runs import Measured
    from sppkit.diagnosis.result import Diagnosis

_HEADINGS = ("network", "squared mean/variance", "variance at stage ends", "residual", "parts at")
# A network without the normalizer may pass 1e30; the reader needs no more than its size.
_LARGE = 1e5
# Longer names are broken rather than the numbers beside them.
_UNBROKEN = 40


def common_title(records: Sequence[Mapping[str, Any]]) -> str:
    """Return what the networks have in common: their size and the options given to all of them."""
    sizes = {_size(record) for record in records}
    parts = [title(record).split(", ")[1:] for record in records]
    shared = [part for part in parts[0] if all(part in other for other in parts) and part not in sizes]
    return ", ".join(filter(None, [sizes.pop() if len(sizes) == 1 else "", *shared]))


def common_subtitle(records: Sequence[Mapping[str, Any]]) -> str:
    """Return how the networks were measured, as far as it is the same for all."""
    parts = [subtitle(record).split(" · ") for record in records]
    return " · ".join(part for part in parts[0] if all(part in other for other in parts))


def render_comparison(runs: Sequence[Measured]) -> list[RenderableType]:
    """Return the summary of a comparison."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    fits = all(len(run.label) <= _UNBROKEN for run in runs)
    table.add_column(_HEADINGS[0], no_wrap=fits, overflow="fold")
    for heading in _HEADINGS[1:-1]:
        table.add_column(heading, justify="right")
    table.add_column(_HEADINGS[-1])
    for run in runs:
        table.add_row(Text(run.label), *_cells(key_figures(run.table)), Text(_parts(runs[0], run)))
    return [table, Text(_legend(runs[0].label), style="dim"), "", *_iter_statements(runs)]


def _cells(figures: KeyFigures) -> Iterator[str]:
    where = "" if figures.ratio_block is None else f" (block {figures.ratio_block})"
    yield "" if math.isnan(figures.ratio) else f"{_short(figures.ratio)}{where}"
    if figures.nonfinite is not None:
        yield f"non-finite from block {figures.nonfinite}"
    else:
        yield "" if all(map(math.isnan, figures.ends)) else listed(figures.ends)
    yield "" if math.isnan(figures.residual) else _short(figures.residual)


def _short(value: float) -> str:
    return f"{value:.2e}" if value >= _LARGE else f"{value:.3g}" if value >= 1e-3 else f"{value:.0e}" if value else "0"


def _parts(first: Measured, run: Measured) -> str:
    if run is first:
        return "(first)"
    if run.table["block"].max() != first.table["block"].max():
        return "other depth"
    found = parting(first.table, run.table)
    return "nowhere" if found is None else f"block {found[0]}, {found[1]}"


def _legend(first: str) -> str:
    return (
        "largest squared mean as a multiple of the variance; median of the residual variance; first block that differs "
        f"from {first} by more than {PARTED:.0%}"
    )


def _iter_statements(runs: Sequence[Measured]) -> Iterator[Text]:
    for run in runs:
        for diagnosis in diagnose(run.table, run.record):
            if diagnosis.severity == "error":
                yield _render(run.label, diagnosis)


def _render(label: str, diagnosis: Diagnosis) -> Text:
    return Text.assemble(
        ("BAD ", "bold red"), " ", (f"{label}: ", "bold"), f"{diagnosis.fact_against_theory}; {diagnosis.cause}."
    )


def _size(record: Mapping[str, Any]) -> str:
    options = mapping_at(record, "options")
    depth = number_at(mapping_at(options, "depth"), "value")
    if text_at(record, "arch") and depth is not None:
        return f"depth {depth:.0f}"
    return next((part for part in title(record).split(", ")[1:] if part.startswith("stages ")), "")
