"""Networks without residual joins, measured layer by layer: what builds up over the layers, and what one layer does.

Neighbouring layers differ by design: an activation has a mean that the next normalizer takes out, a pooling averages
independent positions, a normalizer brings raw pixels to unit variance, a classifier starts small. A fault is what is
left without these, lasts to the end, and has grown over several layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.laws import mean_floor
from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Array, Curves, Flags
    from sppkit.curves.network import NetworkFacts
    from sppkit.diagnosis.result import Diagnosis

# A thousandth of the variance is 3 % of the signal's size: four layers of PyTorch's default initialization.
_FAR = 1e3
# A thousand times the size. How far a variance may fall is the business of ``identical_samples``: of small networks
# that were trained, some still learnt whose variance fell to 4e-14, none at 3e-17.
_BEYOND = 1e6
_NOTHING_LEFT = 1e-15
# What the one step that is left out may be: 8-bit pixels have a variance of some thousands.
_ONE_STEP = 1e6
# Ratios at which inputs have become alike: half, and 99 %, of the second moment is common to all. With He's
# initialization and ReLU (the correlation's recursion of Cho & Saul 2009, iterated from 0) the first is passed after
# 3 layers; after 30, the deepest plain network that trained (He et al. 2015, arXiv:1502.01852), it is 35; after 57,
# it is 100 at infinite width, and stays at some tens where layers have some hundreds of channels (measured).
_ALIKE, _TOO_ALIKE = 1.0, 100.0
# A weight layer with its normalizer, activation, dropout and pooling, whose ratios differ by design: the middle one of
# them speaks for all, and a normalizer, after which the mean is below a tenth of the variance, takes it out.
_GROUP = 5
_TAKEN_OUT = 0.1
# Below this a variance is 0.
_TINY = 1e-300

_DEFAULT = "weights too small for their fan-in (PyTorch's own, of variance 1/(3 fan_in), leave a sixth after ReLU)"
_INITIALIZE = "draw weights of variance 1/(fan_in E f²), 2/fan_in for ReLU (torch.nn.init.kaiming_normal_)"


def find_vanishing_layers(curves: Curves) -> Diagnosis | None:
    """Find from which layer on a thousandth of the variance is left or less, to the end."""
    found = _lasting_change(curves, -1)
    if found is None:
        return None
    begins, worst, _severe = found
    variance = curves.variance
    return diagnosed(
        curves,
        "vanishing-variance",
        "error" if variance[worst] < _NOTHING_LEFT * variance[0] else "warning",
        begins=begins,
        worst=worst,
        statistic="channel_variance",
        limit=float(variance[0] / _FAR),
        fact=f"The variance vanishes: from {variance[0]:.3g} it falls to {variance[worst]:.3g} at layer "
        f"{curves.number(worst)}, and from {curves.at(begins)} on less than a thousandth is left",
        cause=f"the layers pass on less variance than they receive: {_DEFAULT}, or an activation that saturates",
        remedy=f"{_INITIALIZE}, or add normalizers",
    )


def find_exploding_layers(curves: Curves) -> Diagnosis | None:
    """Find from which layer on the variance is a thousand times the first one's or more, to the end."""
    found = _lasting_change(curves, 1)
    if found is None:
        return None
    begins, worst, severe = found
    variance = curves.variance
    return diagnosed(
        curves,
        "exploding-variance",
        "error" if severe else "warning",
        begins=begins,
        worst=worst,
        statistic="channel_variance",
        limit=float(variance[0] * _FAR),
        fact=f"The variance explodes: from {variance[0]:.3g} it grows to {variance[worst]:.3g} at layer "
        f"{curves.number(worst)}, and from {curves.at(begins)} on it is over a thousand times as large",
        cause="the layers pass on more variance than they receive: weights too large for their fan-in"
        + (_STORED if curves.network.mode == "eval" else ""),
        remedy=f"{_INITIALIZE}, or add normalizers",
    )


_STORED = ", or normalizers that divide by stored statistics, which are not this signal's"


def find_layers_mean_shift(curves: Curves) -> Diagnosis | None:
    """Find from which layer on the squared mean stays above the variance, to the end."""
    end, limit = body(curves), _ALIKE + mean_floor(curves, independent=True)[curves.judged]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratio = np.where(curves.variance > 0, curves.mean / curves.variance, np.nan)[:end]
    passed = ratio > limit[:end]
    last = _lasting(_of_groups(ratio) > limit[:end])
    if last is None:
        return None
    start = max(0, last - _GROUP + 1)
    begins = start + int(np.argmax(passed[start:]))
    worst = begins + int(np.nanargmax(ratio[begins:]))
    serious = ratio[worst] > _TOO_ALIKE and curves.network.initial
    return diagnosed(
        curves,
        "mean-shift",
        "warning" if serious else "remark",
        begins=begins,
        worst=worst,
        statistic="channel_squared_mean",
        limit=float(limit[worst] * curves.variance[worst]),
        fact=f"The squared mean stays above the variance from {curves.at(begins)} on and reaches {ratio[worst]:.3g} "
        f"times the variance at layer {curves.number(worst)}",
        cause=_alike(float(ratio[worst]), curves.network, serious=serious),
        remedy="normalizers, or centred weights (scaled weight standardization), take it out",
    )


def takes_mean_out(ratio: Array) -> bool:
    """Return whether a normalizer takes the mean out again, in the second half of the layers."""
    return bool((ratio[len(ratio) // 2 :] < _TAKEN_OUT).any())


def _of_groups(ratio: Array) -> Array:
    """Return the median over each layer and the four before it; 0 where the mean is taken out among them."""
    if len(ratio) < _GROUP:
        return np.zeros_like(ratio)
    windows = np.lib.stride_tricks.sliding_window_view(ratio, _GROUP)
    medians = np.where((windows < _TAKEN_OUT).any(axis=1), 0.0, np.median(windows, axis=1))
    return np.concatenate((np.zeros(_GROUP - 1), medians))


def body(curves: Curves) -> int:
    """Return how many layers pass the signal on: those before a global pooling, else all but the last.

    A classifier has a scale of its own, and after a global pooling the variance is that of averages.
    """
    positions = curves.map_sizes.prod(axis=0)
    channels = curves.channels[curves.judged]
    pooled = (positions[1:] == 1) & (positions[:-1] > 1) & (channels[1:] == channels[:-1])
    return int(np.flatnonzero(pooled)[-1]) + 1 if pooled.any() else len(positions) - 1


def _lasting_change(curves: Curves, sign: int) -> tuple[int, int, bool] | None:
    """Return where a lasting fall (-1) or growth (1) begins, where it is worst, and whether it is severe."""
    end = body(curves)
    if end < 1 or not curves.variance[0] > 0:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        raw = sign * np.log(np.maximum(curves.variance[:end], _TINY) / curves.variance[0])
    freed = _freed(curves, raw)
    change = np.minimum(raw, freed)  # by what is left out it must not become worse
    begins = _lasting(change >= np.log(_FAR))
    if begins is None:
        return None
    worst = begins + int(np.argmax(raw[begins:]))
    return begins, worst, bool(change[begins:].max() >= np.log(_BEYOND))


def _freed(curves: Curves, logarithms: Array) -> Array:
    """Return a course without what poolings do, and without the largest single step."""
    steps = np.diff(logarithms, prepend=0.0)
    positions = curves.map_sizes.prod(axis=0)[: len(steps)]
    shrinks = np.concatenate(([False], positions[1:] < positions[:-1]))
    steps = np.where(shrinks, np.minimum(steps, 0.0), steps)
    if len(steps):
        largest = int(np.argmax(steps))
        steps[largest] -= min(max(steps[largest], 0.0), np.log(_ONE_STEP))
    freed: Array = np.cumsum(steps)
    return freed


def _lasting(flags: Flags) -> int | None:
    """Return from where on all flags are set, to the last one; None if that one is not."""
    if not len(flags) or not flags[-1]:
        return None
    unset = np.flatnonzero(~flags)
    return int(unset[-1]) + 1 if len(unset) else 0


def _alike(ratio: float, network: NetworkFacts, *, serious: bool) -> str:
    share = f"{ratio / (1 + ratio):.0%}" if ratio < _TOO_ALIKE else f"{ratio / (1 + ratio):.2%}"
    told = (
        f"{share} of the second moment is common to all inputs: activations of positive mean followed by weights of "
        "non-zero mean, or biases, make them more alike"
    )
    if serious:
        return told
    return f"{told}; plain networks of up to thirty layers were trained so" if network.initial else told
