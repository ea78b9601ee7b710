"""SelfNorm: every channel of every sample is scaled by what its own mean and deviation say.

Tang et al. 2021, arXiv:2102.02811. Letters: mean and sd of one channel of one sample; f and g are gates in (0, 1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sppkit.models.addons.statistics import instance_statistics

# Of the released code.
_EPSILON = 1e-12


class Gate(nn.Module):
    """``sigmoid(batch_norm(w0 mean + w1 sd))``, with two weights per channel.

    Attributes:
        weight: Shape (C, 2), uniform in ±1/√2 at initialization, as torch draws the convolution that the released code
            has for it.
        norm: Batch normalization over the samples.
        uniform_bound: The largest initial weight.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.uniform_bound = {"weight": 0.5**0.5}
        self.weight = nn.Parameter(torch.empty(channels, 2))
        nn.init.uniform_(self.weight, -self.uniform_bound["weight"], self.uniform_bound["weight"])
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """Return the gate of every channel of every sample, shape (N, C)."""
        return torch.sigmoid(self.norm(mean * self.weight[:, 0] + deviation * self.weight[:, 1]))


class SelfNorm(nn.Module):
    """``g x`` with one gate; ``g (x - mean) + f mean`` with two, which is the paper's equation.

    The released networks have one gate.
    """

    def __init__(self, channels: int, gates: int = 1) -> None:
        super().__init__()
        self.g = Gate(channels)
        self.f = Gate(channels) if gates == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        """Scale every channel of every sample."""
        if self.training and x.shape[0] < 2:
            raise ValueError("SelfNorm in train mode compares samples: a batch of 1 is too small")
        mean, deviation = (value.to(x.dtype) for value in instance_statistics(x, _EPSILON))
        flat = mean.flatten(1), deviation.flatten(1)
        g: Tensor = self.g(*flat)[:, :, None, None]
        if self.f is None:
            return x * g
        f: Tensor = self.f(*flat)[:, :, None, None]
        return torch.addcmul(mean * (f - g), x, g)


def selfnorm(channels: int, gates: int = 1) -> nn.Module:
    """Return SelfNorm of (N, C, H, W)."""
    return SelfNorm(channels, gates)
