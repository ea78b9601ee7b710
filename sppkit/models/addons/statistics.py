"""Mean and standard deviation of every channel of every sample."""

from __future__ import annotations

import torch
from torch import Tensor


def instance_statistics(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return the mean and ``sqrt(variance + epsilon)`` of every channel of every sample over space.

    The variance divides by H·W - 1, as in the released code of CrossNorm and SelfNorm (torch's instance normalization
    divides by H·W). Half precision is summed, and left, in float32.
    """
    if x[0, 0].numel() < 2:
        raise ValueError(f"a map of {'×'.join(map(str, x.shape[2:]))} has no standard deviation over space")
    wide = x if x.dtype == torch.float64 else x.float()
    variance, mean = torch.var_mean(wide, dim=(2, 3), keepdim=True)
    return mean, torch.sqrt(variance + epsilon)
