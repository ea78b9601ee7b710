"""A run as the page shows it: what the legend calls it, its table, its record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sppkit.curves.curves import PREDICTED, Curves
from sppkit.curves.steps import at_step
from sppkit.record.table import STATISTIC_COLUMNS, STEP, is_measured
from sppkit.registry import HEALTH_STATISTICS, STATISTICS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

# A browser draws so many rows without a pause that a hand would notice; of a longer training every n-th step is shown.
MOST_ROWS = 60_000


@dataclass(frozen=True)
class ShownRun:
    """One run of a page.

    Attributes:
        label: What the legend calls it.
        table: As made by ``build_table``, of one step or of many.
        record: Its record; empty where there is none.
    """

    label: str
    table: pd.DataFrame
    record: Mapping[str, Any]

    @cached_property
    def curves(self) -> Curves:
        """The table that is judged: of a training, its last step."""
        return Curves(at_step(self.table), self.record)

    @cached_property
    def steps(self) -> list[int]:
        """The steps of a training; empty for a run without."""
        return sorted(map(int, self.table[STEP].unique())) if STEP in self.table else []

    @cached_property
    def shown(self) -> pd.DataFrame:
        """The table of the page: all of it, or of a long training steps that are spread evenly."""
        if not self.steps or len(self.table) <= MOST_ROWS:
            return self.table
        most = max(2, MOST_ROWS * len(self.steps) // len(self.table))
        kept = np.linspace(0, len(self.steps) - 1, most).round().astype(int)
        return self.table[self.table[STEP].isin([self.steps[index] for index in kept])].reset_index(drop=True)

    @cached_property
    def statistics(self) -> list[str]:
        """The statistics that have a panel: what was measured or predicted, in the order of the registry."""
        return [name for name in STATISTICS if self._is_there(name)]

    @cached_property
    def opened(self) -> list[str]:
        """Those whose panels are open at first: not what only the verdict took, but the gradient's size where it is."""
        source = self.record.get("options", {}).get("stats", {}).get("source", "flag")
        unasked = set(HEALTH_STATISTICS) - {"gradient_second_moment"} if source == "default" else set()
        return [name for name in self.statistics if name not in unasked]

    def _is_there(self, name: str) -> bool:
        measured = name in self.table and is_measured(self.table, name)
        predicted = f"{PREDICTED}{name}"
        return measured or (predicted in self.table and bool(self.table[predicted].notna().any()))


def panels(runs: list[ShownRun]) -> list[str]:
    """Return the statistics that have a panel on a page of several runs; the three of the plot come first."""
    found = {name for run in runs for name in run.statistics}
    order = [*STATISTIC_COLUMNS, *(name for name in STATISTICS if name not in STATISTIC_COLUMNS)]
    return [name for name in order if name in found]
