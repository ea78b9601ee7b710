"""Effects between runs of other weights: real where they are beyond what seeds alone would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sppkit.curves.chance import chance_of, deviate_of, error_between
from sppkit.curves.depth_spread import accumulated_variance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sppkit.curves.curves import Array
    from sppkit.curves.effects import Effect

# How probable it may be that chance alone moves one quantity anywhere in a network so far: with half a dozen of them,
# one comparison in 15,000. On 35 networks (plain, normalized, norm-free and
# attention, 16 to 64 channels, 5 to 48 rows), a thousand pairs of four seeds each, 1e-3 let up to 6 pass, 3e-5 one.
FALSE_ALARM = 1e-5


# Where weights are known to have another distribution there is a change, and chance could only make it look larger:
# each block is a test of its own.
KNOWN_ALARM = 0.01


class Unpaired(NamedTuple):
    """An effect between two sets of seeds, each of shape (matched blocks,), nan where there is nothing to judge.

    Attributes:
        size: The difference of means.
        chance: The probability that seeds alone do this anywhere.
        own_chance: The probability that they do it at this block.
        smallest: The smallest difference that would be beyond chance.
    """

    size: Array
    chance: Array
    own_chance: Array
    smallest: Array


def unpaired_effect(effect: Effect, groups: NDArray[np.int64], *, forgets: bool) -> Unpaired:
    """Return an effect between two sets of seeds, its chance, and the smallest one that would be beyond chance."""
    size = effect.new.mean(axis=0) - effect.base.mean(axis=0)
    if effect.prior is None:
        nothing = np.full_like(size, np.nan)
        return Unpaired(nothing, nothing, nothing, nothing)
    walk = accumulated_variance([effect.new, effect.base], effect.channels, forgets=forgets or effect.scale == "share")
    error, freedom = error_between(effect.new, effect.base, np.sqrt(np.maximum(effect.prior**2, walk)), groups)
    tests = int(np.isfinite(size).sum())
    judged = np.isfinite(size)
    chances = [
        np.where(judged, [chance_of(float(t), freedom, several) for t in size / error], np.nan)
        for several in (tests, 1)
    ]
    smallest = np.where(judged, error * deviate_of(FALSE_ALARM, freedom, tests), np.nan)
    return Unpaired(size, chances[0], chances[1], smallest)
