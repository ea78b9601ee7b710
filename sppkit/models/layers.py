"""The layers that the named architectures are made of.

A layer whose weights are random says so in ``normal_std`` (parameter name to standard deviation) and initializes
nothing itself: ``initialize.materialize`` draws each weight once, from its own stream. ``uniform_bound`` says the same
of uniform weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from sppkit.models.perturb import perturb

if TYPE_CHECKING:
    from collections.abc import Callable

    from sppkit.models.activations import Activation

    Parametrization = Callable[[Tensor, Tensor, float], Tensor]


class Convolution(nn.Conv2d):
    """A convolution with weight variance c/fan_in and, if standardized, a learnable gain and bias per filter.

    Attributes:
        weight: The raw weight, shape (out, in, k, k).
        gain: Per filter, 1 at initialization; absent where the raw weight is applied as it is.
        noise: One draw of N(0, 1) per weight, not trained; absent where the weights are clean.
        noise_strength: Strength and kind of the noise, or None.
        noise_in_training: Whether train mode has the noise too.
        normal_std: Standard deviation of the raw weight, sqrt(c/fan_in), and of the noise, 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        padding_mode: Literal["zeros", "circular"] = "zeros",
        parametrization: Parametrization | None = None,
        c: float = 1.0,
        bias: bool = False,
        noise: tuple[float, str] | None = None,
        noise_in_training: bool = True,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=bias or parametrization is not None,
            padding_mode=padding_mode,
        )
        self.parametrization = parametrization
        self.c = c
        self.normal_std = {"weight": (c / self.weight[0].numel()) ** 0.5}
        if parametrization is not None:
            self.gain = nn.Parameter(torch.empty(out_channels))
        self.noise_strength = noise
        self.noise_in_training = noise_in_training
        if noise is not None:
            self.noise = nn.Parameter(torch.empty_like(self.weight), requires_grad=False)
            self.normal_std["noise"] = 1.0

    def reset_parameters(self) -> None:
        """Set gain to 1 and bias to 0; the weight is drawn by its name elsewhere."""
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        if hasattr(self, "gain"):
            nn.init.ones_(self.gain)

    def effective_weight(self) -> Tensor:
        """Return the weight that is applied, shape (out, in, k, k)."""
        stored = self.weight if self.parametrization is None else self.parametrization(self.weight, self.gain, self.c)
        if self.noise_strength is None or (self.training and not self.noise_in_training):
            return stored
        return perturb(stored, self.noise, *self.noise_strength)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with the effective weight, shape (N, out, H', W')."""
        y: Tensor = self._conv_forward(x, self.effective_weight(), self.bias)
        return y

    def extra_repr(self) -> str:
        """Name the weight parametrization beside torch's own description."""
        name = getattr(self.parametrization, "__name__", "none")
        return f"{super().extra_repr()}, weights={name}"  # type: ignore[no-untyped-call]


class ScalarBias(nn.Module):
    """``x + value``, one learnable number for all channels, 0 at initialization (Zhang et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(()))

    def reset_parameters(self) -> None:
        """Set the number to 0."""
        nn.init.zeros_(self.value)

    def forward(self, x: Tensor) -> Tensor:
        """Add the number."""
        return x + self.value


class ScaledActivation(nn.Module):
    """``scale * f(x)``: an activation with its gain (and, in NF-ResNets, the block's 1/beta)."""

    def __init__(self, activation: Activation, scale: float = 1.0) -> None:
        super().__init__()
        self.activation = activation
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation."""
        y = self.activation.function(x)
        if self.scale == 1.0:
            return y
        # y is a fresh tensor unless the activation is the identity; autograd may need it unscaled.
        return y * self.scale if torch.is_grad_enabled() or y is x else y.mul_(self.scale)

    def extra_repr(self) -> str:
        """Name the activation and its scale."""
        return f"{self.activation.name}, scale={self.scale:.6g}"


class KeyedLinear(nn.Linear):
    """A linear layer with weight variance 1/fan_in and bias 0."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.normal_std = {"weight": in_features**-0.5}

    def reset_parameters(self) -> None:
        """Set the bias to 0; the weight is drawn by its name elsewhere."""
        nn.init.zeros_(self.bias)


class SqueezeExcite(nn.Module):
    """Squeeze-and-excite (Hu et al. 2018): every channel times ``factor * sigmoid(fc1(relu(fc0(mean over space))))``.

    NF-ResNets take factor 2, which restores the variance that a gate near 1/2 takes away (Brock et al. 2021, App. C).
    """

    def __init__(self, channels: int, factor: float, ratio: float = 0.25) -> None:
        super().__init__()
        hidden = max(1, int(channels * ratio))
        self.fc0 = KeyedLinear(channels, hidden)
        self.fc1 = KeyedLinear(hidden, channels)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Scale every channel of every sample."""
        gate = torch.sigmoid(self.fc1(torch.relu(self.fc0(x.mean(dim=(2, 3))))))
        return x * (self.factor * gate)[:, :, None, None]


class StochasticDepth(nn.Module):
    """Drop the branch of each sample with probability ``rate`` in train mode; what is kept is not rescaled.

    The published NF-ResNets do not rescale (nfnets, ``StochDepth`` with its default ``scale_by_keep=False``).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Zero the branch of some samples."""
        if not self.training or self.rate == 0:
            return x
        # Drawn on the CPU so that every device drops the same samples.
        kept = torch.rand(x.shape[0], device="cpu") >= self.rate
        return x * kept.to(x)[:, None, None, None]

    def extra_repr(self) -> str:
        """Name the rate."""
        return f"rate={self.rate:.3g}"
