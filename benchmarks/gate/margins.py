"""How much wider (or narrower) every tolerance could be before a comparison's verdict changed."""

from __future__ import annotations

from typing import Any

from sppkit.curves.curves import Curves
from sppkit.diagnosis.presets import preset_of
from sppkit.gate.compared import compare
from sppkit.gate.policy import preset_policy

# Stands for a signal that is gone.
FAR = 1e9


def margin(table: Any, base: Any, record: Any, base_record: Any) -> tuple[float, float]:
    """Return the largest |log ratio| over its tolerance's logarithm: of what passes chance, and of everything.

    A comparison fails where every tolerance's logarithm, times a factor, is below it.
    """
    new, old = Curves(table, record), Curves(base, base_record)
    if new.nonfinite.any():
        return FAR, FAR
    policy = preset_policy(preset_of(str(record.get("arch", ""))))
    sure, every = 0.0, 0.0
    for change in compare(new, old).changes:
        limit = change.limit(policy, new.names[change.place])
        if limit is None or change.is_better:
            continue
        far = abs(change.size) / limit[0]
        every = max(every, far)
        if change.is_real:
            sure = max(sure, far)
    return sure, every
