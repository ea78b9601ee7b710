"""Effects over seeds that both runs share: real wherever rows differ, so that only their size is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sppkit.curves.curves import Array
    from sppkit.curves.effects import Effect
    from sppkit.gate.pairing import Pairing

# An effect is known where its mean over seeds is beyond so many of its standard errors: not where seeds disagree on its
# sign.
_STANDARD_ERRORS = 2.0
# Where it is not known whether weights were drawn anew, seeds that agree to this part of the effect say that they were
# not: among four seeds of mere chance that happens once in 3000 (Student's t of 3 degrees of freedom beyond 16).
_AGREE = 0.2
_FEWEST = 3


def paired_effect(effect: Effect, pairing: Pairing) -> tuple[Array, NDArray[np.bool_]]:
    """Return an effect over the shared seeds, and where it is known, shape (matched blocks,)."""
    apart = _differences(effect, pairing)
    size: Array = apart.mean(axis=0)
    error = apart.std(axis=0, ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else np.zeros_like(size)
    known = np.abs(size) > _STANDARD_ERRORS * error
    return size, known & ~pairing.equal


def seeds_agree(effect: Effect, pairing: Pairing) -> NDArray[np.bool_]:
    """Return where the shared seeds agree so well that chance is no explanation, whatever weights they have."""
    apart = _differences(effect, pairing)
    if len(apart) < _FEWEST:
        return np.zeros(apart.shape[1], dtype=bool)
    size = apart.mean(axis=0)
    agree: NDArray[np.bool_] = np.abs(apart - size).max(axis=0) <= _AGREE * np.abs(size)
    return agree & ~pairing.equal


def _differences(effect: Effect, pairing: Pairing) -> Array:
    here, there = pairing.places
    apart: Array = effect.new[here] - effect.base[there]
    return apart
