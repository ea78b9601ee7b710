"""Closed forms for the signal at initialization, in the limit of many channels and no border."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.theory.pool import moments_of_largest

if TYPE_CHECKING:
    from sppkit.theory.activation import Nonlinearity

# A gate is sigmoid of a number near 0.
_GATE = 0.5
# The published gains are Monte-Carlo estimates: up to 0.09 % high, so 0.18 % in the variance.
_GAIN_TOLERANCE = 0.01
# Only the first block sees the pool. ReLU, whose published curves start there, passes on 1.048 of what it should.
_POOL_TOLERANCE = 0.05
# What one transition loses the next stage starts from: four stages of 2.5 % are 10 %.
_SCALE_TOLERANCE = 0.025
# A signal of finite width is itself off by up to a quarter. An activation that amplifies this has no closed form,
# however few blocks the variance grows for: softshrink and tanhshrink reach 3 and 31279 after nine blocks.
_SMALLEST_SCALE = 1.25


def residual_variance_behind_norm(activation: Nonlinearity, *, norm_first: bool, gain: float, c: float) -> float:
    """Return the residual variance of a branch whose last convolution follows a normalizer.

    BN-ReLU-Conv: the convolution sees gain f(z), z ~ N(0,1); weights of variance c/fan_in carry its mean into the
    channels' means and its variance into theirs, so the variance is c gain² Var f(z): 0.6817 for ReLU and c = 2.
    ReLU-BN-Conv: it sees unit variance and zero mean, so the variance is c (Brock et al. 2021, section 3).

    Args:
        activation: f.
        norm_first: Whether the normalizer comes before the activation.
        gain: Factor after the activation.
        c: Weight variance times fan_in.

    Returns:
        The residual variance.

    >>> from sppkit.theory.activation import TwoSlopes
    >>> round(residual_variance_behind_norm(TwoSlopes(1.0, 0.0), norm_first=True, gain=1.0, c=2.0), 4)
    0.6817
    """
    return c * gain**2 * _kept_variance(activation, 1.0) if norm_first else c


def residual_variance_normalizer_free(
    activation: Nonlinearity, *, gain: float, c: float, largest_variance: float = 1.0, pooled: bool = False
) -> float | None:
    """Return the residual variance of an NF-ResNet with centred, scaled weights.

    A convolution with rows of zero sum and squared sum c turns an input z ~ N(0,1) into one of variance
    c gain² Var f(z). Where that is 1, as with the exact gain and c = 1, every layer of the branch sees variance 1 again
    and the branch ends with it (Brock et al. 2021, section 4).

    The block's own input has another scale: variance v = 1 + k alpha², which beta divides by *behind* the activation.
    So f must pass it on in proportion, Var f(√v z) / v = Var f(z): exactly so for ReLU, leaky ReLU and the identity,
    nearly for smooth relatives of ReLU while v is small, not for tanh. Behind a max-pool the first block's input is not
    centred, and f must keep the variance of that, too: ReLU's kin do, the identity loses 64 % of it.

    Args:
        activation: f.
        gain: Factor after the activation.
        c: Squared sum of a filter's weights, those of the stem included.
        largest_variance: The largest v of the network.
        pooled: Whether a 3x3 max-pool precedes the first block.

    Returns:
        The residual variance, or None where f does not keep the variance and no closed form exists.

    >>> from sppkit.theory.activation import TwoSlopes
    >>> residual_variance_normalizer_free(TwoSlopes(1.0, 0.0), gain=1.712859, c=1.0, largest_variance=51.0, pooled=True)
    1.0
    >>> residual_variance_normalizer_free(TwoSlopes(1.0, 1.0), gain=1.0, c=1.0, pooled=True) is None
    True
    """
    scale = max(largest_variance, _SMALLEST_SCALE)
    kept = [(_kept_variance(activation, 1.0), _GAIN_TOLERANCE), (_kept_variance(activation, scale), _SCALE_TOLERANCE)]
    if pooled:
        kept.append((_kept_behind_pool(activation, c), _POOL_TOLERANCE))
    return 1.0 if all(abs(c * gain**2 * factor - 1) < tolerance for factor, tolerance in kept) else None


def _kept_variance(f: Nonlinearity, v: float) -> float:
    moments, _ = f.transform(np.full((1, 1), v), {})
    return (moments.second - moments.mean**2).item() / v


def _kept_behind_pool(f: Nonlinearity, c: float) -> float:
    # The stem's variance is c.
    mean, second = moments_of_largest((c,) * 9, f)
    return (second - mean**2) / c


def squeeze_excite_factor(factor: float) -> float:
    """Return what a squeeze-and-excite gate does to the variance: (factor / 2)², its sigmoid being near 1/2.

    Args:
        factor: What the gate is multiplied by: 2 in NF-ResNets, else 1.

    Returns:
        The factor on the variance.
    """
    return (factor * _GATE) ** 2
