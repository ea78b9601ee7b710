"""Which block of one run is which block of the other."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


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


def match_sites(new: Sequence[Site], base: Sequence[Site]) -> Matching:
    """Match blocks by name; what is left between two matches is renamed where as many blocks of the same width remain.

    Args:
        new: Name and channels of every block of the new run, in order.
        base: The same of the run it is compared with.

    Returns:
        The matching. A block whose width changed is another block.
    """
    pairs, renamed = [], []
    for tag, base_low, base_high, low, high in SequenceMatcher(None, base, new, autojunk=False).get_opcodes():
        places = list(zip(range(low, high), range(base_low, base_high), strict=False))
        if tag == "equal":
            pairs += places
        elif tag == "replace" and _widths(new[low:high]) == _widths(base[base_low:base_high]):
            renamed += places
    pairs = sorted([*pairs, *renamed])
    taken, base_taken = {place for place, _ in pairs}, {place for _, place in pairs}
    return Matching(
        tuple(pairs),
        tuple(renamed),
        tuple(_iter_left(len(new), taken)),
        tuple(_iter_left(len(base), base_taken)),
    )


def _widths(sites: Sequence[Site]) -> list[float]:
    return [channels for _, channels in sites]


def _iter_left(count: int, taken: set[int]) -> Iterator[int]:
    return (place for place in range(count) if place not in taken)
