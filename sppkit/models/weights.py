"""Weight parametrizations: from the raw weight of a convolution to the one that is applied.

Letters: w is the raw weight of one filter, N = fan_in its number of entries, mean and var its mean and variance over
them, c the variance scale (2 for ``he``, 1 for ``lecun``), gain the filter's learnable gain. Shapes: weight
(out, in, kh, kw), gain (out,).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

# Weight standardization as published divides by the standard deviation plus this (Qiao et al. 2019).
WS_EPSILON = 1e-5
# Floor on N * var, which is about c at initialization, so it acts only on a filter that died (nfnets, base.py).
SCALED_WS_FLOOR = 1e-4


def unchanged(weight: Tensor, gain: Tensor, c: float) -> Tensor:  # noqa: ARG001 - parametrizations share one signature
    """Return the raw weight."""
    return weight


def centered_ws(weight: Tensor, gain: Tensor, c: float) -> Tensor:  # noqa: ARG001
    """Return ``(w - mean) * gain``: the filter's mean is removed, its scale is kept."""
    centered = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
    return centered.mul_(gain.view(-1, 1, 1, 1)) if not torch.is_grad_enabled() else centered * gain.view(-1, 1, 1, 1)


def ws(weight: Tensor, gain: Tensor, c: float) -> Tensor:  # noqa: ARG001
    """Return ``(w - mean) / (std + 1e-5) * gain`` with the unbiased std (Qiao et al. 2019, arXiv:1903.10520).

    The entries have unit variance, so the output grows with fan_in: the published form needs a normalizer after it.
    """
    std, mean = torch.std_mean(weight, dim=(1, 2, 3), keepdim=True)
    return _affine(weight, mean, gain.view(-1, 1, 1, 1) / (std + WS_EPSILON))


def scaled_ws(weight: Tensor, gain: Tensor, c: float) -> Tensor:
    """Return ``(w - mean) * gain * sqrt(c / (N var))``: squares of a filter sum to c at gain 1.

    With the population variance, floored at N var = 1e-4 (Brock et al. 2021, arXiv:2101.08692, equation 2; the floor
    from the published code).
    """
    var, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
    fan_in = weight[0].numel()
    scale = torch.rsqrt((var * fan_in).clamp(min=SCALED_WS_FLOOR)) * (c**0.5) * gain.view(-1, 1, 1, 1)
    return _affine(weight, mean, scale)


def _affine(weight: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    # One pass over the weight and no temporary of its size: w * scale - mean * scale.
    return torch.addcmul(-mean * scale, weight, scale)
