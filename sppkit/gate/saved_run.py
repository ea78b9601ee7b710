"""Saved runs: a table with its record beside it, or a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sppkit.curves.curves import Curves
from sppkit.curves.steps import at_step, iter_trend
from sppkit.errors import UsageError
from sppkit.gate.baseline import read_baseline
from sppkit.record.table import read_csv
from sppkit.record.write import read_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


class SavedRun(NamedTuple):
    """A run that was read: what it is called, its table, its record (or an empty one), what training changed."""

    key: str
    table: pd.DataFrame
    record: Mapping[str, Any]
    trend: tuple[str, ...] = ()

    @property
    def signal(self) -> Curves:
        """The run as the gate reads it."""
        return Curves(self.table, self.record)


def load_run(path: str | Path, step: int | None = None) -> SavedRun:
    """Read a saved run or a baseline; of a training one step, the last where none is given."""
    path = Path(path)
    if path.suffix == ".json" and not path.with_suffix(".csv").exists():
        baseline = read_baseline(path)
        return SavedRun(baseline.key or path.stem, at_step(baseline.table, step), baseline.record)
    if path.suffix not in {".csv", ".json"}:
        raise UsageError(f"a run is a .csv file, or a baseline's .json, not {str(path)!r:.60}.")
    table = read_csv(path.with_suffix(".csv"))
    beside = path.with_suffix(".json")
    record = read_record(beside) if beside.exists() else {}
    return SavedRun(path.stem, at_step(table, step), record, tuple(iter_trend(table)))
