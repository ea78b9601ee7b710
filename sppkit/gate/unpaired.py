"""Effects between runs of other weights: real where they are beyond what seeds alone would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def unpaired_effect(effect: Effect, groups: NDArray[np.int64], *, forgets: bool) -> tuple[Array, Array, Array]:
    """Return an effect between two sets of seeds, its chance, and the smallest one that would be beyond chance.

    Args:
        effect: The effect.
        groups: Shape (matched blocks,): blocks whose spreads are alike.
        forgets: Whether it is known that normalizers give every block a scale of its own.

    Returns:
        The difference of means, the probability that seeds alone do this anywhere, and the smallest that would be
        found; each of shape (matched blocks,), nan where there is nothing to judge.
    """
    size = effect.new.mean(axis=0) - effect.base.mean(axis=0)
    if effect.prior is None:
        nothing = np.full_like(size, np.nan)
        return nothing, nothing, nothing
    walk = accumulated_variance([effect.new, effect.base], effect.channels, forgets=forgets or effect.scale == "share")
    error, freedom = error_between(effect.new, effect.base, np.sqrt(np.maximum(effect.prior**2, walk)), groups)
    tests = int(np.isfinite(size).sum())
    chance = np.array([chance_of(float(t), freedom, tests) for t in size / error])
    smallest = np.where(np.isfinite(size), error * deviate_of(FALSE_ALARM, freedom, tests), np.nan)
    return size, np.where(np.isfinite(size), chance, np.nan), smallest
