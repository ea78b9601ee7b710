"""Several networks over each other, for Python: what ``sppkit compare`` does, without its files."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.text import Text

from sppkit.comparison.lineup import line_up
from sppkit.comparison.runs import iter_measured
from sppkit.comparison.summary import common_subtitle, common_title, render_comparison
from sppkit.plot.page.report import Page, build_page
from sppkit.plot.page.shown_run import ShownRun

if TYPE_CHECKING:
    import pandas as pd

    from sppkit.comparison.runs import Measured

_WIDTH = 120


@dataclass(frozen=True)
class Comparison:
    """Networks that were measured; a notebook shows their interactive page.

    Attributes:
        runs: What was measured of each, in the order in which they were named.
    """

    runs: tuple[Measured, ...]

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The table of each network, by its label: what ``plot_comparison`` and ``report`` take."""
        return {run.label: run.table for run in self.runs}

    @property
    def page(self) -> Page:
        """The interactive page of all of them."""
        records = [run.record for run in self.runs]
        shown = [ShownRun(run.label, run.table, run.record) for run in self.runs]
        return build_page(shown, title=common_title(records) or None, subtitle=common_subtitle(records))

    def __str__(self) -> str:
        """Return what the terminal shows."""
        console = Console(file=io.StringIO(), width=_WIDTH, color_system=None)
        for renderable in render_comparison(self.runs):
            console.print(renderable, soft_wrap=isinstance(renderable, (str, Text)), highlight=False, markup=False)
        text = cast("io.StringIO", console.file).getvalue()
        return "\n".join(line.rstrip() for line in text.splitlines())

    def _repr_html_(self) -> str:  # what a notebook shows
        return self.page._repr_html_()


def compare(*specs: str, **options: Any) -> Comparison:
    """Measure several networks, or read saved runs, to lay their curves over each other.

    Args:
        specs: As on the command line: ``"nf-resnet"``, ``"nf-resnet:weights=none"``, ``"timm:resnet50"``,
            ``"nets.py:build"``, or a saved ``"run.csv"``.
        options: What they share, as the flags are called, with underscores: ``depth=50, seeds=4``.

    Returns:
        The runs: ``str`` of them is the table of the terminal, ``tables`` and ``page`` go on from there.

    Raises:
        UsageError: If a network or an option is not known, or there is only one network.
    """
    return Comparison(tuple(iter_measured(line_up(list(specs), options).members)))
