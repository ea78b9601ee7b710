"""What is wrong with a run: the one answer that every command gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sppkit.curves.curves import Curves
from sppkit.diagnosis.examine import examine
from sppkit.diagnosis.presets import limits_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from sppkit.diagnosis.result import Diagnosis


def diagnose(table: pd.DataFrame, record: Mapping[str, Any] | None = None) -> list[Diagnosis]:
    """Say what is wrong with a signal, where it begins, why, and what to do.

    Any table can be judged; a record tells what the architecture should show, and columns ``predicted_<statistic>`` and
    ``predicted_<statistic>_spread`` (theory for the network as it was built, and its standard deviation from seed to
    seed, both in the statistic's units) give every deviation as a ratio and in standard deviations. Rules, thresholds
    and their sources: ``docs/diagnoses.md``. What ``check`` fails without a baseline is a diagnosis, too.

    Args:
        table: As measured or read; several seeds are averaged.
        record: The run's record, if there is one; a field of another type than ours counts as missing.

    Returns:
        Errors, then warnings, then remarks; empty for a healthy signal. What follows from another diagnosis is left
        out.

    >>> from sppkit.record.table import build_table
    >>> rows = [dict(seed=0, block=k, stage=1, name=f"b{k}", channels=64, height=8, width=8, nonfinite=0,
    ...              channel_squared_mean=3.0 * k, channel_variance=1.0) for k in range(1, 6)]
    >>> [found.name for found in diagnose(build_table(rows))]
    ['mean-shift']
    """
    return diagnose_curves(Curves(table, record or {}))


def diagnose_curves(curves: Curves) -> list[Diagnosis]:
    """Diagnose a table that was read already.

    Args:
        curves: The curves.

    Returns:
        As ``diagnose``.
    """
    return list(examine(curves, limits_of(curves)).diagnoses)
