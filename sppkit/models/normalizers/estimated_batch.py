"""Batch normalization by running estimates, in train mode as well (Qiao et al. 2019, arXiv:1911.09738, section 4).

Letters: M and V are the running mean and variance of a channel, m its mean over the batch, r the update rate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sppkit.models.normalizers.batch import EPSILON

# The released code starts at 0 and leaves the schedule to a training loop that was not released; 0.1 is the usual rate
# of batch normalization's running statistics.
RATE = 0.1


class EstimatedBatchNorm(nn.Module):
    """Normalize by running estimates that the batch has just moved.

    A step in train mode: v = mean (x - M)², about the *old* running mean; M ← (1 - r) M + r m; V ← (1 - r) V + r v; and
    these normalize the batch. They are constants of the gradient. Eval mode leaves out the update.

    Attributes:
        weight: Scale per channel, 1 at initialization.
        bias: Offset per channel, 0 at initialization.
        running_mean: M, shape (C,), 0 at initialization.
        running_var: V, shape (C,), 1 at initialization.
        rate: r.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, rate: float = RATE) -> None:
        super().__init__()
        self.rate = rate
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def reset_parameters(self) -> None:
        """Set scale and offset, and the estimates, to their initial values."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        self.running_mean.zero_()
        self.running_var.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize every channel."""
        if self.training:
            self._estimate(x.detach())
        # Copies: the next step moves the estimates, and a backward pass of this one may still need them.
        mean, variance = self.running_mean.clone(), self.running_var.clone()
        return functional.batch_norm(x, mean, variance, self.weight, self.bias, training=False, eps=EPSILON)

    @torch.no_grad()
    def _estimate(self, x: Tensor) -> None:
        # float64 stays, half precision is summed in float32.
        wide = x if x.dtype == torch.float64 else x.float()
        variance, mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
        about_old = variance + (mean - self.running_mean).square()
        self.running_mean.lerp_(mean.to(x.dtype), self.rate)
        self.running_var.lerp_(about_old.to(x.dtype), self.rate)

    def extra_repr(self) -> str:
        """Name the channels and the rate."""
        return f"{self.weight.numel()}, rate={self.rate:g}"
