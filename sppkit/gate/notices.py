"""What changed against a baseline and is no regression: improvements, small changes, new blocks, other names."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.gate.compared import Compared
    from sppkit.gate.policy import Policy


def improvements(compared: Compared, policy: Policy) -> list[str]:
    """Return what became better, so that a new baseline would keep it: at most one line."""
    names = compared.new.names
    better = [item for item in compared.changes if item.is_better and item.matters(policy, names[item.place])]
    if not better:
        return []
    first, best = better[0], min(better, key=lambda change: change.size)
    what = "share of the squared mean" if best.scale == "share" else "squared mean"
    return [
        f"improvement: the {what} fell from {names[first.place]} on "
        f"({len({item.place for item in better})} of {len(names)} blocks), "
        f"most at {names[best.place]}: {best.expected:.3g} to {best.found:.3g}; sppkit bless keeps it"
    ]


def small_changes(compared: Compared, policy: Policy) -> list[str]:
    """Return what paired seeds show to have changed by less than matters: at most one line."""
    names = compared.new.names
    if any(item.matters(policy, names[item.place]) for item in compared.changes):
        return []
    real = [item for item in compared.changes if item.is_real and item.chance is None and item.size]
    largest = max(real, key=lambda item: item.part(policy, names[item.place]), default=None)
    if largest is None:
        return []
    first = names[min(item.place for item in real)]
    told = f"{largest.size:+.2g}" if largest.scale == "share" else f"×{math.exp(largest.size):.3g}"
    what = largest.statistic.replace("_", " ")
    return [f"real but small: from {first} on, at most {told} ({what} at {names[largest.place]})"]


def site_notices(compared: Compared) -> list[str]:
    """Return which blocks are new or have another name: at most two lines."""
    matching, new, base = compared.matching, compared.new, compared.base
    notices = []
    if matching.new:
        names = some(new.names[place] for place in matching.new)
        notices.append(f"new, and not in the baseline: {names}")
    if matching.renamed:
        names = some(f"{base.names[old]} is now {new.names[place]}" for place, old in matching.renamed)
        notices.append(f"renamed, and compared under the new name: {names}")
    return notices


def some(names: Iterator[str], most: int = 3) -> str:
    """Return a list of names that stays short."""
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
