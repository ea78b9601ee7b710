"""Closed forms for the signal at initialization, in the limit of many channels and no border."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sppkit.activations import gaussian_moments, load_activation

if TYPE_CHECKING:
    from sppkit.activations import ActivationSpec

# A gate is sigmoid of a number near 0.
_GATE = 0.5


def residual_variance_behind_norm(activation: ActivationSpec, *, norm_first: bool, gain: float, c: float) -> float:
    """Return the residual variance of a branch whose last convolution follows a normalizer.

    BN-ReLU-Conv: the convolution sees gain f(z), z ~ N(0,1); weights of variance c/fan_in carry its mean into the
    channels' means and its variance into theirs, so the variance is c gain² Var f(z): 0.6817 for ReLU and c = 2.
    ReLU-BN-Conv: it sees unit variance and zero mean, so the variance is c (Brock et al. 2021, section 3).

    Args:
        activation: f.
        norm_first: Whether the normalizer comes before the activation.
        gain: Factor behind the activation.
        c: Weight variance times fan_in.

    Returns:
        The residual variance.

    >>> round(residual_variance_behind_norm("relu", norm_first=True, gain=1.0, c=2.0), 4)
    0.6817
    """
    return c * gain**2 * gaussian_moments(load_activation(activation)).variance if norm_first else c


def residual_variance_normalizer_free(activation: ActivationSpec, *, gain: float, c: float) -> float | None:
    """Return the residual variance of an NF-ResNet with centred, scaled weights.

    A convolution with rows of zero sum and squared sum c turns an input of variance 1 into one of c gain² Var f(z).
    Where that product is 1, as with the exact gain and c = 1, every layer sees variance 1 again and the branch ends
    with it (Brock et al. 2021, section 4).

    Args:
        activation: f.
        gain: Factor behind the activation.
        c: Squared sum of a filter's weights.

    Returns:
        The residual variance, or None where the product is not 1 and no closed form exists.
    """
    product = c * gain**2 * gaussian_moments(load_activation(activation)).variance
    # The published gains are Monte-Carlo estimates up to 0.13 % high.
    return 1.0 if abs(product - 1) < 0.01 else None


def squeeze_excite_factor(factor: float) -> float:
    """Return what a squeeze-and-excite gate does to the variance: (factor / 2)², its sigmoid being near 1/2.

    Args:
        factor: What the gate is multiplied by: 2 in NF-ResNets, else 1.

    Returns:
        The factor on the variance.
    """
    return (factor * _GATE) ** 2
