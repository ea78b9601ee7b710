"""What a policy can limit: the statistics themselves, and the laws that healthy residual networks keep.

A quantity takes a ``Signal`` to an array of shape (seeds, blocks), nan where it says nothing. Each is positive and is
judged by its logarithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sppkit.record.read import number_at, text_at
from sppkit.registry import activation_facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from sppkit.curves.signal import Array, Signal

# The mean of n values is never exactly 0: its square is var/n, times up to 3.6 for values that are not independent, and
# a channel's mean behind an activation varies with its variance, up to 0.6/C (both measured). Rounded up.
_PER_VALUE, _PER_CHANNEL = 4.0, 1.0


@dataclass(frozen=True)
class Quantity:
    """How a quantity is computed, whose spread it has, and what it says in words.

    Attributes:
        of: From a signal to values.
        spread: The statistic whose published spread it has.
        words: What the number is, for a sentence.
    """

    of: Callable[[Signal], Array]
    spread: str
    words: str


def mean_floor(signal: Signal) -> Array:
    """Return the squared mean, as a share of the variance, that noise alone can have.

    Args:
        signal: The signal.

    Returns:
        Shape (B,).
    """
    floor: Array = _PER_VALUE / signal.per_channel + _PER_CHANNEL / signal.channels
    return floor


def mean_shift(signal: Signal) -> Array:
    """Return the squared mean over the variance, above what noise has; not for block 0, which a pool may have shifted.

    Nor for leaf modules: a pool among them averages noise away, and what it leaves is the mean.

    Args:
        signal: The signal.

    Returns:
        Shape (S, B); at least 1e-6.
    """
    share = _divide(signal.values("channel_squared_mean"), signal.values("channel_variance")) - mean_floor(signal)
    return np.where((signal.blocks > 0) & signal.joined, np.maximum(share, 1e-6), np.nan)


def growth(signal: Signal) -> Array:
    """Return the variance over what linear growth from the first block on would have: v_k / (k v_1).

    Branches of one strength add up: v_k is at most k v_1. A signal that doubles in every block has 2^(k-1)/k.

    Args:
        signal: The signal.

    Returns:
        Shape (S, B).
    """
    return variance_kept(signal) / np.maximum(signal.blocks, 1)


def variance_kept(signal: Signal) -> Array:
    """Return the variance over that of the first residual block: v_k / v_1.

    Leaf modules are no blocks: each has a scale of its own, and nothing adds up.

    Args:
        signal: The signal.

    Returns:
        Shape (S, B).
    """
    variance = signal.values("channel_variance")
    first = variance[:, signal.blocks == 1]
    if not first.size or not signal.joined:
        return np.full_like(variance, np.nan)
    return np.where(signal.blocks > 0, _divide(variance, first), np.nan)


def reset(signal: Signal) -> Array:
    """Return, at each stage's first block, its variance over that of the first stage's first block.

    A transition projects its shortcut from a signal whose scale is known, so that each stage starts where the first
    one did, and not where the one before it ended.

    Args:
        signal: The signal.

    Returns:
        Shape (S, B).
    """
    later = starts(signal) & (signal.stages > 1)
    return np.where(later, variance_kept(signal), np.nan)


def addition(signal: Signal) -> Array:
    """Return what an addition has over what it should have: v_k / (v_(k-1) + s² r_k), within a stage.

    Skip and branch are independent, so their variances add up; s is alpha times skip gain.

    Args:
        signal: The signal.

    Returns:
        Shape (S, B); nan where s is not known, or drawn by stochastic depth.
    """
    variance, branch = signal.values("channel_variance"), signal.values("residual_variance")
    scale = np.nan if signal.branch_scale is None else signal.branch_scale
    inside = (signal.blocks > 0) & ~starts(signal) & np.append(False, np.diff(signal.blocks) == 1)
    return np.where(inside, _divide(variance, _before(variance) + scale**2 * branch), np.nan)


def branch_level(signal: Signal) -> Array:
    """Return the residual variance over what a healthy branch of this kind has, whatever gain or init was asked for.

    Behind a normalizer a healthy branch ends with 2 Var f(z) (BN-ReLU-Conv, He's weights: 0.68 for ReLU) or 1
    (ReLU-BN-Conv), z ~ N(0,1). In an NF-ResNet it ends with v / beta² times the taps that zero padding leaves: 1 but
    for the sag of v, its input's variance, below beta² (Brock et al. 2021, sections 3 and 4). Squeeze-and-excite takes
    a quarter of it, but for the factor 2 of NF-ResNets.

    Args:
        signal: The signal.

    Returns:
        Shape (S, B); nan where no such number exists.
    """
    return _divide(signal.values("residual_variance"), _healthy_branch(signal))


def starts(signal: Signal) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return which blocks are the first of their stage, the stem among them.

    Args:
        signal: The signal.

    Returns:
        Shape (B,).
    """
    return np.append(True, np.diff(signal.stages) != 0)


QUANTITIES: dict[str, Quantity] = {
    "mean_shift": Quantity(mean_shift, "channel_squared_mean", "squared mean over variance"),
    "growth": Quantity(growth, "channel_variance", "variance over linear growth"),
    "variance_kept": Quantity(variance_kept, "channel_variance", "variance over the first block's"),
    "reset": Quantity(reset, "channel_variance", "variance at the stage's start over the first stage's"),
    "addition": Quantity(addition, "channel_variance", "variance over skip plus branch"),
    "branch_level": Quantity(branch_level, "residual_variance", "residual variance over a healthy one"),
}


def measured(signal: Signal, quantity: str) -> Quantity | None:
    """Return how a quantity is computed from this signal.

    Args:
        signal: The signal.
        quantity: A key of ``QUANTITIES``, or a statistic's name.

    Returns:
        The quantity; None where the table has no such column.
    """
    if quantity in QUANTITIES:
        return QUANTITIES[quantity]
    if quantity not in signal.statistics:
        return None
    return Quantity(lambda signal: signal.values(quantity), quantity, quantity.replace("_", " "))


def _healthy_branch(signal: Signal) -> Array:
    kind, size = signal.network, signal.values("residual_variance").shape
    activation = activation_facts(text_at(kind, "activation", "relu")).variance
    arch = text_at(signal.record, "arch")
    gate = 0.25 if kind.get("se") is True else 1.0
    if arch == "relu-bn-conv":
        return np.full(size, gate)
    if arch == "bn-relu-conv" and activation is not None:
        return np.full(size, gate * 2 * activation)
    if arch == "nf-resnet":
        return _scaled_branch(signal)
    return np.full(size, np.nan)


def _scaled_branch(signal: Signal) -> Array:
    # beta² of a block is what its input's variance should be: 1, or 1 + k alpha² behind k blocks of the stage before.
    alpha = number_at(signal.network, "alpha")
    before = _before(signal.values("channel_variance"))
    inside = signal.blocks - np.maximum.accumulate(np.where(starts(signal), signal.blocks, 0))
    behind = np.append(0, inside[:-1] + 1)
    expected = 1 + behind * (np.nan if alpha is None else alpha**2)
    # The first block's input comes from a pool, and is not centred: ReLU's kin make about 1 of it.
    return np.where(signal.blocks == 1, 1.0, before / expected) * signal.taps


def _before(values: Array) -> Array:
    return np.concatenate([np.full((len(values), 1), np.nan), values[:, :-1]], axis=1)


def _divide(a: Array, b: Array) -> Array:
    # Of a signal that is gone, no share; of one that overflowed neither.
    usable = np.isfinite(a) & np.isfinite(b) & (b > 0)
    share: Array = np.divide(a, b, out=np.full(np.broadcast_shapes(a.shape, b.shape), np.nan), where=usable)
    return share
