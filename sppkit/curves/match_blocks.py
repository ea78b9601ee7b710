"""Which block of one run is which block of the other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sppkit.curves.curves import Curves


@dataclass(frozen=True)
class Matching:
    """Pairs of places (in the new run, in the base), and what is left over in either.

    Attributes:
        pairs: Places of matched blocks, in the order of the new run.
        renamed: Those of the pairs whose names differ.
        new: Places of blocks that only the new run has.
        vanished: Places of blocks that only the base has.
    """

    pairs: tuple[tuple[int, int], ...]
    renamed: tuple[tuple[int, int], ...]
    new: tuple[int, ...]
    vanished: tuple[int, ...]


Site = tuple[str, float]
# A name, its width, and how many of the same came before it.
_Key = tuple[str, float, int]


def match(new: Curves, base: Curves) -> Matching:
    """Match the blocks of two runs."""
    sites = [list(zip(side.names, map(float, side.channels), strict=True)) for side in (new, base)]
    return match_sites(*sites)


def match_sites(new: Sequence[Site], base: Sequence[Site]) -> Matching:
    """Match blocks by name; what is left between two matches is renamed where as many blocks of the same width remain.

    In one pass over either run: a run may have 100,000 blocks. A name that the other run has, too, is no other block's
    new name.
    """
    places = {key: place for place, key in enumerate(_keys(base))}
    partners = {place: places[key] for place, key in enumerate(_keys(new)) if key in places}
    renamed = list(_iter_renamed(new, base, partners))
    pairs = sorted([*partners.items(), *renamed])
    taken, base_taken = {place for place, _ in pairs}, {place for _, place in pairs}
    return Matching(
        tuple(pairs),
        tuple(renamed),
        tuple(place for place in range(len(new)) if place not in taken),
        tuple(place for place in range(len(base)) if place not in base_taken),
    )


def _keys(sites: Sequence[Site]) -> list[_Key]:
    seen: Counter[Site] = Counter()
    keys = []
    for site in sites:
        keys.append((*site, seen[site]))
        seen[site] += 1
    return keys


def _iter_renamed(new: Sequence[Site], base: Sequence[Site], partners: dict[int, int]) -> Iterator[tuple[int, int]]:
    names, base_names = {name for name, _ in new}, {name for name, _ in base}
    behind = _gaps(len(base), set(partners.values()))
    before = {base_place: place for place, base_place in partners.items()}
    gaps = _gaps(len(new), partners)
    for start, base_gap in behind.items():
        # Behind the same block on both sides, or at the start of both.
        gap = gaps.get(before.get(start, -1), [])
        if [new[place][1] for place in gap] != [base[place][1] for place in base_gap]:
            continue
        for place, base_place in zip(gap, base_gap, strict=True):
            if new[place][0] not in base_names and base[base_place][0] not in names:
                yield place, base_place


def _gaps(count: int, matched: Collection[int]) -> dict[int, list[int]]:
    """Return the runs of places that have no partner, by the place before each; -1 before the first."""
    gaps: dict[int, list[int]] = {}
    before = -1
    for place in range(count):
        if place in matched:
            before = place
        else:
            gaps.setdefault(before, []).append(place)
    return gaps
