"""Softmaxes and bounded activations at their ends, where they pass hardly any gradient back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Array, Curves
    from sppkit.diagnosis.result import Diagnosis

_ENTROPY, _SATURATED = "attention_entropy", "saturated_fraction"
# Of small networks that were trained (benchmarks/trainability) none below this learnt with more than one setting. One
# outside of it did with all five, at 0.014: what it had to learn does not need attention. So it is no error.
_FEW_KEYS = 0.4
# Of the same kinds none learnt with 0.77 and more in the mean over its layers, one with 0.56, in 400 steps. Others did,
# with two settings of five at most: a fault to be warned of.
_FLAT = 2 / 3


def find_saturated_attention(curves: Curves) -> Diagnosis | None:
    """Find attention that looks at few keys, in the mean over a network's blocks."""
    entropy = _measured(curves, _ENTROPY)
    if entropy is None or not np.nanmean(entropy) < _FEW_KEYS:
        return None
    worst = int(np.nanargmin(entropy))
    return diagnosed(
        curves,
        "saturated-attention",
        "warning",
        begins=int(np.flatnonzero(entropy < _FEW_KEYS)[0]),
        worst=worst,
        statistic=_ENTROPY,
        limit=_FEW_KEYS,
        fact=f"Attention looks at few keys: its weights' entropy is {np.nanmean(entropy):.2g} of that of uniform ones "
        f"in the mean, and {entropy[worst]:.2g} at {curves.at(worst)}",
        cause="its logits are too large: queries and keys, or a scale that is not 1/√d",
        remedy="draw queries and keys smaller, scale their products by 1/√d, or normalize both",
    )


def find_saturated_activations(curves: Curves) -> Diagnosis | None:
    """Find bounded activations most of whose values are flat, in the mean over a network's layers."""
    flat = _measured(curves, _SATURATED)
    if flat is None or not np.nanmean(flat) > _FLAT:
        return None
    worst = int(np.nanargmax(flat))
    return diagnosed(
        curves,
        "saturated-activations",
        "warning",
        begins=int(np.flatnonzero(flat > _FLAT)[0]),
        worst=worst,
        statistic=_SATURATED,
        limit=_FLAT,
        fact=f"{np.nanmean(flat):.0%} of what bounded activations take is in their flat part in the mean, and "
        f"{flat[worst]:.0%} at {curves.at(worst)}: it passes less than a twentieth of the steepest slope back",
        cause="what they take is too large: weights, biases or an input that is not standardized",
        remedy="draw weights of variance 1/fan_in, smaller biases, or normalize before the activation",
    )


def _measured(curves: Curves, name: str) -> Array | None:
    """Return a statistic of the judged rows, nan where a row has none; None where there is nothing to judge."""
    if curves.network.known or not curves.network.initial or name not in curves.table:
        return None
    values: Array = curves.seed_mean(name)[curves.judged]
    return values if np.isfinite(values).any() else None
