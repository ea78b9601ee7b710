"""Which rows of two runs came of the same weights and input, so that whatever differs there was changed.

Both sides of a comparison nearly always share seeds. What a change did not touch is then equal to the last digits; the
first row that is not is where the change is seen, and no spread between seeds has anything to do with it. Only weights
that were drawn anew (another layer drew first, in a network that draws from one stream) bring chance back: the digests
of the weights tell which those are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sppkit.curves.effects import MEAN, VARIANCE
from sppkit.gate.weights import are_keyed, compare_weights
from sppkit.record.read import counts_at, mapping_at, number_at, option_values, text_at

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from sppkit.curves.curves import Curves
    from sppkit.curves.match_blocks import Matching
    from sppkit.gate.weights import Weights

# What rounding does to a row, relative; ``docs/gate.md`` has what was measured.
ROUNDING = {"float64": 1e-7, "float32": 1e-5, "bfloat16": 1e-2, "float16": 2e-3}
# What tells several rows of one module apart (``sppkit.joins.name``).
_NUMBER = re.compile(r"[@#~].*")
_TINY = 1e-60
_NO_SEED = "no seed in common"


@dataclass(frozen=True)
class Pairing:
    """Which rows are paired.

    Attributes:
        seeds: The seeds that both runs have, with the same input.
        places: Where they are among the new run's seeds, and among the base's.
        equal: Whether a matched block's row is equal within rounding for each of these seeds, shape (matched blocks,).
        first: The first matched block that is not; None where all are.
        until: Matched blocks from here on are unpaired.
        weights: What became of the weights; None where that is not known.
        known: Among unpaired blocks, those from here on have weights of another distribution, or of another number.
        why: Why blocks are unpaired, in words; empty where all are paired.
        remedy: What pairs them, in words.
        rounding: Relative difference up to which rows are equal.
    """

    seeds: tuple[int, ...]
    places: tuple[NDArray[np.int64], NDArray[np.int64]]
    equal: NDArray[np.bool_]
    first: int | None
    until: int
    known: int
    weights: Weights | None
    why: str
    remedy: str
    rounding: float

    @property
    def is_guess(self) -> bool:
        """Whether nothing is known of the weights behind the first row that differs."""
        return self.weights is None and bool(self.seeds) and bool(self.why)


def pair(new: Curves, base: Curves, matching: Matching) -> Pairing:
    """Tell which rows of two runs are paired."""
    seeds = [seed for seed in new.seeds if seed in set(base.seeds)]
    apart = _NO_SEED if not seeds else _other_input(new.record, base.record)
    seeds = [] if apart else seeds
    places = tuple(np.array([side.seeds.index(seed) for seed in seeds], dtype=np.int64) for side in (new, base))
    rounding = ROUNDING.get(text_at(base.record, "dtype"), ROUNDING["float32"])
    equal = _are_equal(new, base, matching, (places[0], places[1]), rounding)
    first = None if equal.all() and seeds else int(np.argmin(equal)) if len(equal) else None
    weights = compare_weights(new.record, base.record, seeds) if seeds else None
    until, why = (0, apart) if apart else _first_redrawn(new, base, matching, weights, first)
    remedy = _remedy(apart, new.record)
    rows = [new.names[at] for at, _ in matching.pairs]
    known = len(rows) if weights is None else _row_of(weights, weights.changed, rows)
    return Pairing(tuple(seeds), (places[0], places[1]), equal, first, until, known, weights, why, remedy, rounding)


def _remedy(apart: str, record: Mapping[str, Any]) -> str:
    if apart:
        return f"{'the same seeds' if apart == _NO_SEED else 'the same batch'} on both sides would pair them"
    keyed = option_values(record).get("reinit") == "keyed"
    return "more --seeds show less" if keyed else "--reinit keyed pairs them, more --seeds show less"


def _other_input(new: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    here, there = mapping_at(new, "input"), mapping_at(base, "input")
    shapes = [counts_at(item, "batch_shape") for item in (here, there)]
    batches = [number_at(item, "batches") for item in (here, there)]
    return "another batch" if all(shapes) and (shapes[0] != shapes[1] or batches[0] != batches[1]) else ""


def _are_equal(
    new: Curves,
    base: Curves,
    matching: Matching,
    seeds: tuple[NDArray[np.int64], NDArray[np.int64]],
    rounding: float,
) -> NDArray[np.bool_]:
    equal = np.full(len(matching.pairs), bool(len(seeds[0])))
    if not matching.pairs:
        return equal
    blocks = [np.array(side, dtype=np.int64) for side in zip(*matching.pairs, strict=True)]
    for name in (item for item in new.statistics if item in base.statistics):
        values = [
            np.maximum(side.values(name)[np.ix_(rows, at)], _TINY)
            for side, rows, at in zip((new, base), seeds, blocks, strict=True)
        ]
        if name == MEAN:
            # A channel's mean is rounded as its values are: relative to their root mean square.
            power = base.values(VARIANCE)[np.ix_(seeds[1], blocks[1])] + values[1]
            apart = np.abs(np.sqrt(values[0]) - np.sqrt(values[1])) / np.sqrt(power)
        else:
            apart = np.abs(np.log(values[0]) - np.log(values[1]))
        lost = np.isnan(values[0]) & np.isnan(values[1])
        equal &= ((apart <= rounding) | lost).all(axis=0)
    return equal


def _first_redrawn(
    new: Curves, base: Curves, matching: Matching, weights: Weights | None, first: int | None
) -> tuple[int, str]:
    """Return from which matched block on the weights are other draws, and why."""
    count = len(matching.pairs)
    if first is None or (are_keyed(new.record, base.record) and not matching.renamed):
        return count, ""
    if weights is None:
        return first, "nothing is known of the weights"
    if not weights.redrawn:
        return count, ""
    place = _row_of(weights, weights.redrawn, [new.names[at] for at, _ in matching.pairs])
    if place == count:
        return count, ""
    more = len(weights.redrawn) - 1
    return max(first, place), f"other draws of {weights.redrawn[0]}" + (f" and {more} more" if more else "")


def _row_of(weights: Weights, names: Collection[str], rows: Sequence[str]) -> int:
    """Return the first row that some of the weights can reach: the first one that holds any of them.

    One that no row holds may reach any row, unless it stands behind all that rows hold: a head.
    """
    places = {_NUMBER.sub("", name): place for place, name in reversed(list(enumerate(rows)))}
    holders = [_holder(name, places) for name in weights.names]
    held = [index for index, place in enumerate(holders) if place is not None]
    last = max(held, default=-1)
    chosen, found = set(names), len(rows)
    for index, (name, place) in enumerate(zip(weights.names, holders, strict=True)):
        if name in chosen and (place is not None or index < last or not held):
            found = min(found, place or 0)
    return found


def _holder(name: str, places: Mapping[str, int]) -> int | None:
    while name:
        if name in places:
            return places[name]
        name = name.rpartition(".")[0]
    return None
