"""What changed against a baseline and is no regression: improvements, new blocks, other names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.gate.against_baseline import is_better, is_off, iter_changes, match

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.curves.signal import Signal
    from sppkit.gate.policy import Policy


def improvements(new: Signal, base: Signal, policy: Policy) -> list[str]:
    """Return what became better, so that a new baseline would keep it.

    Args:
        new: The run.
        base: The baseline's.
        policy: Its ratios are the tolerances.

    Returns:
        At most one line.
    """
    better = []
    for change in iter_changes(new, base, match(new, base)):
        allowed = policy.ratio(change.statistic, new.names[change.place])
        if allowed is not None and is_better(change) and is_off(change, allowed[0]):
            better.append(change)
    if not better:
        return []
    first, best = better[0], min(better, key=lambda change: change.log)
    return [
        f"improvement: the squared mean fell from {new.names[first.place]} on "
        f"({len(better)} of {len(new.names)} blocks), "
        f"most at {new.names[best.place]}: {best.expected:.3g} to {best.found:.3g}; sppkit bless keeps it"
    ]


def site_notices(new: Signal, base: Signal) -> list[str]:
    """Return which blocks are new or have another name.

    Args:
        new: The run.
        base: The baseline's.

    Returns:
        At most two lines.
    """
    matching = match(new, base)
    notices = []
    if matching.new:
        names = _some(new.names[place] for place in matching.new)
        notices.append(f"new, and not in the baseline: {names}")
    if matching.renamed:
        names = _some(f"{base.names[old]} is now {new.names[place]}" for place, old in matching.renamed)
        notices.append(f"renamed, and compared under the new name: {names}")
    return notices


def _some(names: Iterator[str], most: int = 3) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
