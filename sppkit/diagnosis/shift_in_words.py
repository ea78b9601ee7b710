"""What a shift does to a network, in sentences that the table bears out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.shift import read_shifts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

    from sppkit.curves.shift import ShiftCurves

# A style shift that is so much smaller, or larger, at the end than where it enters has been absorbed, or has grown.
ABSORBED, GROWN = 0.1, 2.0
# More than so many sentences of the same form are not read.
MOST_DESCRIBED = 4
# A style shift below this is nothing to absorb: a tenth of a deviation, squared.
FAINT = 0.01


def iter_sentences(tables: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """Yield what each shift does to each network, and then where networks differ.

    Of many only what differs is said, and what has no number: the rest stands in the table.
    """
    read = {label: read_shifts(table) for label, table in tables.items()}
    several = len(read) > 1
    described = sum(map(len, read.values())) <= MOST_DESCRIBED
    for label, shifts in read.items():
        for curves in shifts:
            if described:
                yield f"{f'{label}, ' * several}{curves.shift}: {describe(curves)}"
        gone = list(dict.fromkeys(name for curves in shifts for name in curves.without_style))
        if gone and not described:
            yield f"{label}: no style is left at {_listed(gone)}, so there is no number there."
    if several:
        yield from _iter_comparisons(read)


def describe(curves: ShiftCurves) -> str:
    """Return what one shift does to one network."""
    if curves.lost.any():
        name = curves.names[int(np.argmax(curves.lost > 0))]
        return f"values are not finite from {name} on: there is nothing to tell."
    return f"{_describe_style(curves)}; {_describe_kept(curves)}."


def _describe_style(curves: ShiftCurves) -> str:
    style = curves.figures["style_shift"]
    gone = curves.without_style
    where = f"; no style is left at {_listed(gone)}, so there is no number there" if gone else ""
    if np.isnan(style).all():
        return f"the channels' means tell no pictures apart, neither in the input nor in any block{where}"
    largest, end = int(np.nanargmax(style)), float(style[-1])
    said = f"style shift {curves.start:.2g} where it enters, at most {style[largest]:.2g} ({curves.names[largest]})"
    if np.isnan(end):
        return f"{said}; behind the last block no style is left{where if len(gone) > 1 else ''}"
    return f"{said}, {end:.2g} behind the last block: {_verdict(curves.start, end)}{where}"


def _verdict(start: float, end: float) -> str:
    if start < FAINT:
        return "hardly any, anywhere" if end < FAINT else "hardly any enters, it arises inside"
    if end <= ABSORBED * start:
        return "absorbed to a tenth or less"
    if end >= GROWN * start:
        return f"it grows {end / start:.3g}-fold"
    return f"it falls to {end / start:.0%}" if end <= start / GROWN else "it stays of that size"


def _describe_kept(curves: ShiftCurves) -> str:
    kept = curves.figures["signal_kept"]
    if np.isnan(kept[-1]):
        gone = curves.names[-1] in curves.without_style
        why = "where no style is left" if gone else "where all pictures are alike"
        return f"how much of the signal is kept can't be said {why}"
    below = np.flatnonzero(kept < 0)
    if not len(below):
        return f"{kept[-1]:.2g} of the signal is kept behind the last block"
    name = curves.names[int(below[0])]
    return f"from {name} on" + (
        " a picture is farther from its shifted form than from another picture"
        if (kept[below[0] :] < 0).all()
        else ", here and there, a picture is farther from its shifted form than from another picture"
    )


def _iter_comparisons(read: Mapping[str, list[ShiftCurves]]) -> Iterator[str]:
    for index, first in enumerate(next(iter(read.values()))):
        ends = {label: shifts[index].figures["style_shift"][-1] for label, shifts in read.items()}
        lost = {label for label, shifts in read.items() if shifts[index].lost.any()}
        none = [label for label, end in ends.items() if np.isnan(end) and label not in lost]
        told = {label: float(end) for label, end in ends.items() if not np.isnan(end) and label not in lost}
        if none:
            yield f"{first.shift}: behind the last block of {_listed(none)} no style is left."
        if len(told) > 1:
            least, most = min(told, key=lambda label: told[label]), max(told, key=lambda label: told[label])
            yield (
                f"{first.shift}: of the others, " if none else f"{first.shift}: "
            ) + f"{least} shifts least behind the last block ({told[least]:.2g}), {most} most ({told[most]:.2g})."


def _listed(names: list[str]) -> str:
    shown = names if len(names) <= 4 else [*names[:2], "...", names[-1]]
    return ", ".join(shown)
