"""A table of several training steps: one of them, and what changed from the first to the last."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sppkit.errors import UsageError
from sppkit.record.table import PASSES, STATISTIC_COLUMNS, STEP

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

# A change of less than a factor of two is what any training does.
_FACTOR = 2.0
_TOLD = (*STATISTIC_COLUMNS, "gradient_second_moment")
# What is listed where a step is not there.
_MOST_STEPS = 3


def at_step(table: pd.DataFrame, step: int | None = None) -> pd.DataFrame:
    """Return the table of one step, the last one where it is None; one without steps as it is."""
    if STEP not in table:
        if step is not None:
            raise UsageError("--step needs a table of several training steps, as a monitor writes; this one has none.")
        return table
    steps = sorted(table[STEP].unique().tolist())
    chosen = steps[-1] if step is None else step
    if chosen not in steps:
        some = ", ".join(map(str, steps[:_MOST_STEPS])) + (f", ..., {steps[-1]}" if len(steps) > _MOST_STEPS else "")
        raise UsageError(f"there is no step {chosen} in the table: it has {some}.")
    return table[table[STEP] == chosen].drop(columns=[STEP, PASSES], errors="ignore").reset_index(drop=True)


def iter_trend(table: pd.DataFrame) -> Iterator[str]:
    """Yield what changed most from the first step to the last, and at which steps values were not finite."""
    if STEP not in table:
        return
    first, last = int(table[STEP].min()), int(table[STEP].max())
    yield f"the last of {table[STEP].nunique()} steps is judged, step {last}"
    bad = table.loc[table["nonfinite"].fillna(0) > 0, STEP]
    if len(bad):
        yield f"trend: values were not finite at {bad.nunique()} of the steps, from step {bad.min()} to {bad.max()}"
    for statistic in _TOLD:
        if statistic in table and first < last:
            yield from _iter_change(table, statistic, first, last)


def _iter_change(table: pd.DataFrame, statistic: str, first: int, last: int) -> Iterator[str]:
    columns = ["seed", "block", "name", statistic]
    both = table.loc[table[STEP] == first, columns].merge(
        table.loc[table[STEP] == last, columns], on=["seed", "block"], suffixes=("", "_last")
    )
    before, after = (both[name].to_numpy(dtype=float) for name in (statistic, f"{statistic}_last"))
    usable = np.flatnonzero(np.isfinite(before) & np.isfinite(after) & (before > 0) & (after > 0))
    if not len(usable):
        return
    factors = after[usable] / before[usable]
    most = int(np.abs(np.log(factors)).argmax())
    if abs(math.log(factors[most])) >= math.log(_FACTOR):
        row = usable[most]
        yield (
            f"trend: {statistic.replace('_', ' ')} changed most at {both['name'].iloc[row]}: {before[row]:.3g} at step "
            f"{first}, {after[row]:.3g} at step {last}"
        )
