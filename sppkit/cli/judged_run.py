"""A run of a user's network with what its health is judged by, beside the statistics that were asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sppkit.registry import GRADIENT_STATISTICS, HEALTH_STATISTICS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from sppkit.config.resolve import Resolved
    from sppkit.measuring.run import Progress, Run, Treatment

_FORWARD = tuple(name for name in HEALTH_STATISTICS if name not in GRADIENT_STATISTICS)


def run_judged(resolved: Resolved, progress: Progress | None, treat: Treatment | None = None) -> Run:
    """Run with them where statistics were not chosen; of named networks theory knows more."""
    from sppkit.errors import SppkitError
    from sppkit.machine.interrupts import uninterrupted

    with uninterrupted():
        from sppkit.measuring.run import run

    if not is_judged_by_more(resolved):
        return _explained(run(resolved, progress, treat))
    try:
        result = run(_with(resolved, *HEALTH_STATISTICS), progress, treat)
    except SppkitError as error:  # some run only where nothing is differentiated; what ails others is told below
        result = run(_with(resolved, *_FORWARD), progress, treat)
        result = replace(result, record={**result.record, "gradient": {"absent": str(error)}})
    return _explained(replace(result, warnings=tuple(filter(_is_asked_for, result.warnings))))


def _explained(result: Run) -> Run:
    """Return the run with what is wrong with it in its record, in full: a terminal has room for four lines."""
    from sppkit.diagnosis.diagnose import diagnose

    found = diagnose(result.table, result.record)
    told = [{"name": one.name, "severity": one.severity, "block": one.block, "text": one.text} for one in found]
    return replace(result, record={**result.record, "diagnoses": told})


def is_judged_by_more(resolved: Resolved) -> bool:
    """Return whether a run measures more than was asked for."""
    config = resolved.config
    return (
        config.model is not None and resolved.sources.get("stats", "default") == "default" and config.streaming != "on"
    )


def _is_asked_for(warning: str) -> bool:
    """Return whether a warning is not that a column is empty which nobody asked for."""
    return not warning.startswith(HEALTH_STATISTICS)


def drawn(table: pd.DataFrame, record: Mapping[str, Any]) -> pd.DataFrame:
    """Return a table without the columns that nobody asked for: a plot has a panel for each of the others."""
    from sppkit.record.read import mapping_at, text_at

    asked = text_at(mapping_at(mapping_at(record, "options"), "stats"), "source", "flag")
    return table.drop(columns=list(HEALTH_STATISTICS), errors="ignore") if asked == "default" else table


def _with(resolved: Resolved, *further: str) -> Resolved:
    return replace(resolved, config=replace(resolved.config, stats=(*resolved.config.stats, *further)))
