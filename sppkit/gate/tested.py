"""Which test a comparison used, and what it can see, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sppkit.gate.compared import Compared


def iter_tests(compared: Compared) -> Iterator[str]:
    """Yield how two runs were compared: by seed as far as their weights are the same, else seeds against seeds."""
    pairing, names = compared.pairing, [compared.new.names[place] for place, _ in compared.matching.pairs]
    if not names:
        return
    if pairing.first is None:
        yield f"paired by seed, and unchanged: every row is equal within {pairing.rounding:g}"
        return
    unpaired = np.flatnonzero(np.isfinite(compared.smallest))
    if not len(unpaired) or unpaired[0] > 0:
        yield (
            f"paired by seed ({len(pairing.seeds)} in common): what differs from {names[pairing.first]} on was changed"
        )
    if len(unpaired):
        start = f" from {names[unpaired[0]]} on" if unpaired[0] else ""
        low, high = (math.exp(bound(compared.smallest[unpaired])) for bound in (np.min, np.max))
        sizes = f"×{low:.2g}" if f"{low:.2g}" == f"{high:.2g}" else f"×{low:.2g} to ×{high:.2g}"
        seeds = min(len(compared.new.seeds), len(compared.base.seeds))
        yield (
            f"unpaired{start} ({pairing.why}): the smallest change of a variance that {seeds} seeds show is {sizes}; "
            "--reinit keyed pairs them, more --seeds show less"
        )
