"""What a policy can limit: the statistics themselves, and the laws that healthy residual networks keep.

A quantity takes a ``Curves`` to an array of shape (seeds, blocks), nan where it says nothing. Each is positive and is
judged by its logarithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.factors import kept_taps
from sppkit.registry import activation_facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from sppkit.curves.curves import Array, Curves

# The mean of n values is never exactly 0: its square is var/n, times up to 3.6 for values that are not independent, and
# a channel's mean after an activation varies with its variance, up to 0.6/C (both measured). Rounded up.
_PER_VALUE, _PER_CHANNEL = 4.0, 1.0
# A gate that averages fewer values than this is no longer near 1/2 (0.1 of a healthy branch, of 8 values).
_VALUES = 100
# What a normalizer that no theory knows makes of fewer values than this may be half of its unit variance (measured:
# batch Kalman normalization of 8 values, 0.57 of a healthy branch).
_FEW = 16


@dataclass(frozen=True)
class Quantity:
    """How a quantity is computed, whose spread it has, and what it says in words.

    Attributes:
        of: From curves to values.
        spread: The statistic whose published spread it has.
        words: What the number is, for a sentence.
    """

    of: Callable[[Curves], Array]
    spread: str
    words: str


def mean_floor(curves: Curves, *, independent: bool = False) -> Array:
    """Return the squared mean, as a share of the variance, that noise alone can have, shape (B,)."""
    values = curves.independent if independent else curves.per_channel
    floor: Array = _PER_VALUE / values + _PER_CHANNEL / curves.channels
    return floor


def mean_shift(curves: Curves) -> Array:
    """Return the squared mean over the variance, above what noise has; not for block 0, which a pool may have shifted.

    Nor for leaf modules: a pool among them averages noise away, and what it leaves is the mean.
    """
    share = _divide(curves.values("channel_squared_mean"), curves.values("channel_variance"))
    share = share - mean_floor(curves, independent=True)
    return np.where((curves.blocks > 0) & ~np.bool_(curves.layered), np.maximum(share, 1e-6), np.nan)


def growth(curves: Curves) -> Array:
    """Return the variance over what linear growth from the first block on would have: v_k / (k v_1), shape (S, B).

    Branches of one strength add up: v_k is at most k v_1. A signal that doubles in every block has 2^(k-1)/k.
    """
    return variance_kept(curves) / np.maximum(curves.blocks, 1)


def variance_kept(curves: Curves) -> Array:
    """Return the variance over that of the first residual block: v_k / v_1, shape (S, B).

    Leaf modules are no blocks: each has a scale of its own, and nothing adds up.
    """
    variance = curves.values("channel_variance")
    first = variance[:, curves.blocks == 1]
    if not first.size or curves.layered:
        return np.full_like(variance, np.nan)
    return np.where(curves.blocks > 0, _divide(variance, first), np.nan)


def reset(curves: Curves) -> Array:
    """Return, at each stage's first block, its variance over that of the first stage's first block, shape (S, B).

    A transition projects its shortcut from a signal whose scale is known, so that each stage starts where the first
    one did, and not where the one before it ended.
    """
    later = starts(curves) & (curves.stages > 1)
    return np.where(later, variance_kept(curves) / _expected_sag(curves), np.nan)


def _expected_sag(curves: Curves) -> Array:
    # On maps of a few pixels zero padding takes most of a basic block's branch, and few values most of a normalizer's
    # unit variance: where a normalizer sets the scale, that is all that a start may sag by. Theory knows both; without
    # it, a block's shortcut and branch are of one strength, and the branch keeps what the border leaves.
    expected = curves.seed_mean("predicted_channel_variance")
    if not np.isfinite(expected).any():
        expected = np.full_like(expected, np.nan)
        expected[curves.judged] = 1 + kept_taps(curves)
    first = expected[curves.blocks == 1]
    if not curves.normalized or len(first) != 1 or not first[0] > 0:
        return np.ones_like(expected)
    ratio: Array = np.where(expected > 0, np.minimum(expected / first[0], 1.0), 1.0)
    return ratio


def addition(curves: Curves) -> Array:
    """Return what an addition has over what it should have: v_k / (v_(k-1) + s² r_k), within a stage.

    Skip and branch are independent, so their variances add up; s is alpha times skip gain.
    """
    variance, branch = curves.values("channel_variance"), curves.values("residual_variance")
    inside = (curves.blocks > 0) & ~starts(curves) & np.append(False, np.diff(curves.blocks) == 1)
    return np.where(inside, _divide(variance, _before(variance) + added_scale(curves) * branch), np.nan)


def added_scale(curves: Curves) -> float:
    """Return what an addition multiplies the branch's variance by; nan where it is unknown, or drawn anew each time."""
    network = curves.network
    drawn = network.stochastic_depth and network.mode != "eval"
    return np.nan if drawn or network.branch_scale is None else network.branch_scale


def branch_level(curves: Curves) -> Array:
    """Return the residual variance over what a healthy branch of this kind has, shape (S, B).

    After a normalizer a healthy branch ends with 2 Var f(z) (BN-ReLU-Conv, He's weights: 0.68 for ReLU) or 1
    (ReLU-BN-Conv), z ~ N(0,1); where the record says what theory expects of its init and gain, with that. In an
    NF-ResNet it ends with v / beta² times the taps that zero padding leaves, whatever gain was asked for: 1 but for the
    sag of v, its input's variance, below beta² (Brock et al. 2021, sections 3 and 4). Squeeze-and-excite takes a
    quarter of it, but for the factor 2 of NF-ResNets.
    """
    level = _divide(curves.values("residual_variance"), _healthy_branch(curves))
    # Theory knows what few values do to batch normalization, and to no other.
    unknown = curves.normalized and np.isnan(curves.seed_mean("predicted_residual_variance")).all()
    least = np.where(curves.network.se, _VALUES, np.where(unknown, _FEW, 0))
    few = curves.per_channel < least
    return np.where(few, np.nan, level)


def starts(curves: Curves) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return which blocks are the first of their stage, the stem among them, shape (B,)."""
    return np.append(True, np.diff(curves.stages) != 0)


QUANTITIES: dict[str, Quantity] = {
    "mean_shift": Quantity(mean_shift, "channel_squared_mean", "squared mean over variance"),
    "growth": Quantity(growth, "channel_variance", "variance over linear growth"),
    "variance_kept": Quantity(variance_kept, "channel_variance", "variance over the first block's"),
    "reset": Quantity(reset, "channel_variance", "variance at the stage's start over the first stage's"),
    "addition": Quantity(addition, "channel_variance", "variance over skip plus branch"),
    "branch_level": Quantity(branch_level, "residual_variance", "residual variance over a healthy one"),
}


def measured(curves: Curves, quantity: str) -> Quantity | None:
    """Return how a quantity is computed from these curves."""
    if quantity in QUANTITIES:
        return QUANTITIES[quantity]
    if quantity not in curves.statistics:
        return None
    return Quantity(lambda curves: curves.values(quantity), quantity, quantity.replace("_", " "))


def _healthy_branch(curves: Curves) -> Array:
    network, size = curves.network, curves.values("residual_variance").shape
    activation = activation_facts(network.activation or "relu").variance
    gate = 0.25 if network.se else 1.0
    if network.arch == "nf-resnet":
        return _scaled_branch(curves)
    if network.expected_residual is not None:
        healthy = network.expected_residual
    elif network.arch == "relu-bn-conv":
        healthy = gate
    elif network.arch == "bn-relu-conv" and activation is not None:
        healthy = gate * 2 * activation
    else:
        return np.full(size, np.nan)
    level = np.full(size, healthy)
    # No normalizer follows a basic block's last convolution, whose taps the border takes away.
    level[:, curves.judged] *= kept_taps(curves)
    return level


def _scaled_branch(curves: Curves) -> Array:
    # beta² of a block is what its input's variance should be: 1, or 1 + k alpha² after k blocks of the stage before.
    before = _before(curves.values("channel_variance"))
    inside = curves.blocks - np.maximum.accumulate(np.where(starts(curves), curves.blocks, 0))
    after = np.append(0, inside[:-1] + 1)
    alpha = min(abs(curves.network.alpha), 1e100) if curves.network.known else np.nan
    expected = 1 + after * alpha**2
    # The first block's input comes from a pool, and is not centred: ReLU's kin make about 1 of it.
    level = np.where(curves.blocks == 1, 1.0, before / expected)
    level[:, curves.judged] *= kept_taps(curves)
    return level


def _before(values: Array) -> Array:
    return np.concatenate([np.full((len(values), 1), np.nan), values[:, :-1]], axis=1)


def _divide(a: Array, b: Array) -> Array:
    # Of a signal that is gone, no share; of one that overflowed neither.
    usable = np.isfinite(a) & np.isfinite(b) & (b > 0)
    share: Array = np.divide(a, b, out=np.full(np.broadcast_shapes(a.shape, b.shape), np.nan), where=usable)
    return share
