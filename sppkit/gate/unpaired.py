"""Effects between runs of other weights: real where they are beyond what seeds alone would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.chance import FALSE_ALARM, chance_of, deviate_of, error_between

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sppkit.curves.effects import Effect
    from sppkit.curves.signal import Array


def unpaired_effect(effect: Effect, groups: NDArray[np.int64]) -> tuple[Array, Array, Array]:
    """Return an effect between two sets of seeds, its chance, and the smallest one that would be beyond chance.

    Args:
        effect: The effect.
        groups: Shape (matched blocks,): blocks whose spreads are alike.

    Returns:
        The difference of means, the probability that seeds alone do this anywhere, and the smallest that would be
        found; each of shape (matched blocks,), nan where there is nothing to judge.
    """
    size = effect.new.mean(axis=0) - effect.base.mean(axis=0)
    if effect.prior is None:
        nothing = np.full_like(size, np.nan)
        return nothing, nothing, nothing
    error, freedom = error_between(effect.new, effect.base, effect.prior, groups)
    tests = int(np.isfinite(size).sum())
    chance = np.array([chance_of(float(t), freedom, tests) for t in size / error])
    return size, np.where(np.isfinite(size), chance, np.nan), error * deviate_of(FALSE_ALARM, freedom, tests)
