"""Which test a comparison used, what it can see, and what became of the weights, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sppkit.gate.compared import Compared
    from sppkit.gate.weights import Weights

# Tensors that are told of by name.
_MOST = 2


def iter_tests(compared: Compared) -> Iterator[str]:
    """Yield how two runs were compared: by seed as far as their weights are the same, else seeds against seeds."""
    pairing, names = compared.pairing, [compared.new.names[place] for place, _ in compared.matching.pairs]
    if not names:
        return
    if pairing.first is None:
        yield f"paired by seed, and unchanged: every row is equal within {pairing.rounding:g}"
        return
    unpaired = np.flatnonzero(np.isfinite(compared.smallest))
    if not len(unpaired) or unpaired[0] > pairing.first:
        start = f"from {names[pairing.first]} on" if pairing.first else "from the first row on"
        yield f"paired by seed ({len(pairing.seeds)} in common): what differs {start} was changed"
    if pairing.weights is not None:
        yield from _iter_weights(pairing.weights)
    if len(unpaired):
        yield _unpaired(compared, names, unpaired)


def _unpaired(compared: Compared, names: Sequence[str], rows: np.ndarray[tuple[int], np.dtype[np.intp]]) -> str:
    start = f" from {names[rows[0]]} on" if rows[0] else ""
    low, high = (math.exp(min(700.0, bound(compared.smallest[rows]))) for bound in (np.min, np.max))
    sizes = f"×{low:.2g}" if f"{low:.2g}" == f"{high:.2g}" else f"×{low:.2g} to ×{high:.2g}"
    seeds = min(len(compared.new.seeds), len(compared.base.seeds))
    return (
        f"unpaired{start} ({compared.pairing.why}): the smallest change of a variance that {seeds} seeds show here is "
        f"{sizes}; {compared.pairing.remedy}"
    )


def _iter_weights(weights: Weights) -> Iterator[str]:
    if weights.are_equal:
        yield "the weights are the baseline's: the code has changed, or the input"
        return
    changed = [f"{name} {words}" for name, words in weights.changed.items()]
    changed += [f"{name} is new" for name in weights.added] + [f"{name} is gone" for name in weights.removed]
    if changed:
        more = len(changed) - _MOST
        yield "weights: " + "; ".join(changed[:_MOST]) + (f"; and {more} more that changed" if more > 0 else "")
