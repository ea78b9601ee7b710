"""Mean and variance of channels, carried through the layers of a network: the prediction of Batch Kalman Normalization.

Channels are taken as independent and Gaussian, which they are at initialization in the limit of many of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sppkit.models.normalizers.kalman import Moments

if TYPE_CHECKING:
    from sppkit.models.layers import Convolution, ScaledActivation

# The density beyond 8 standard deviations is 1e-15. With 513 points the trapezoid rule is off by 1e-4 where f has a
# kink, and by nothing where it is smooth.
_REACH = 8.0
_POINTS = 513


def through_activation(moments: Moments, activation: ScaledActivation) -> Moments:
    """Return the moments of f(z), z ~ N(m, v), channel by channel."""
    if activation.activation.name == "relu":
        mean, second = _relu(moments)
    else:
        mean, second = _integrate(moments, activation)
    scale = activation.scale
    return Moments(scale * mean, scale**2 * (second - mean.square()).clamp(min=0))


def through_convolution(moments: Moments, convolution: Convolution) -> Moments:
    """Return the moments after a convolution: ``m Σw`` and ``v Σw²``, summed over channels, without borders."""
    weight = convolution.effective_weight().to(moments.mean.dtype)
    mean = moments.mean @ weight.sum((2, 3)).T
    if convolution.bias is not None:
        mean = mean + convolution.bias
    return Moments(mean, moments.variance @ weight.square().sum((2, 3)).T)


def through_sample(
    moments: Moments, activation: ScaledActivation | None, convolution: Convolution, size: tuple[int, ...]
) -> Moments:
    """Return the moments after activation and convolution of one random map, as the released code predicts them.

    Their expectation is what the closed forms return, but for borders and for the variance between positions, which a
    finite map underestimates. Drawn on the CPU, so that every device draws the same.
    """
    mean, deviation = (value[:, :, None, None] for value in (moments.mean, moments.variance.sqrt()))
    noise = torch.randn(*moments.mean.shape, *size, dtype=moments.mean.dtype, device="cpu").to(moments.mean.device)
    z = mean + deviation * noise
    # Not called as modules: a prediction is no signal, and no hook should take it for one.
    if activation is not None:
        z = activation.forward(z)
    y = convolution.forward(z.to(convolution.weight.dtype)).to(moments.mean.dtype)
    variance, center = torch.var_mean(y, dim=(2, 3), correction=0)
    return Moments(center, variance)


def _relu(moments: Moments) -> tuple[torch.Tensor, torch.Tensor]:
    mean, variance = moments
    spread = variance.sqrt()
    # A channel of zero variance passes max(m, 0).
    a = mean / spread.clamp(min=torch.finfo(spread.dtype).tiny)
    density = torch.exp(-(a.square()) / 2) / (2 * torch.pi) ** 0.5
    below = torch.special.ndtr(a)
    return spread * density + mean * below, (mean.square() + variance) * below + mean * spread * density


def _integrate(moments: Moments, activation: ScaledActivation) -> tuple[torch.Tensor, torch.Tensor]:
    nodes = torch.linspace(-_REACH, _REACH, _POINTS, dtype=moments.mean.dtype, device=moments.mean.device)
    weights = torch.exp(-(nodes.square()) / 2)
    weights = weights / weights.sum()
    z = moments.mean[..., None] + moments.variance.sqrt()[..., None] * nodes
    f = activation.activation.function(z)
    return f @ weights, f.square() @ weights
