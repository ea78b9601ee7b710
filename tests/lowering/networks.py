"""Networks as their authors would write them, and the inputs that they are measured with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

WIDTH = 256


def drawn(*shape: int) -> Callable[[int], Tensor]:
    """Return what draws a batch from a seed."""
    return lambda seed: torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def words(*shape: int) -> Callable[[int], Tensor]:
    """Return what draws ids from a seed."""
    return lambda seed: torch.randint(0, 500, shape, generator=torch.Generator().manual_seed(seed))


class ResidualMlp(nn.Module):
    """x + W2 phi(W1 norm(x)), several times."""

    def __init__(self, norm: Callable[[int], nn.Module], act: nn.Module, depth: int = 3) -> None:
        super().__init__()
        self.stem, self.act = nn.Linear(64, WIDTH), act
        self.norms = nn.ModuleList(norm(WIDTH) for _ in range(depth))
        self.first = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.second = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, first, second in zip(self.norms, self.first, self.second, strict=True):
            x = x + second(self.act(first(norm(x))))
        return x


class ConvBlock(nn.Module):
    def __init__(self, inputs: int, width: int, norm: Callable[[int], nn.Module], act: nn.Module, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.act = norm(inputs), norm(width), act
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Conv2d(inputs, width, 1, stride) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm1(x))
        skip = x if self.skip is None else self.skip(y)
        return skip + self.conv2(self.act(self.norm2(self.conv1(y))))


class ResidualConv(nn.Module):
    """A residual network of two stages, its normalizers in front."""

    def __init__(self, norm: Callable[[int], nn.Module], act: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.blocks = nn.Sequential(
            ConvBlock(WIDTH, WIDTH, norm, act, 1),
            ConvBlock(WIDTH, WIDTH, norm, act, 2),
            ConvBlock(WIDTH, WIDTH, norm, act, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.stem(x))


class PlainConv(nn.Sequential):
    """Filters, a normalizer and an activation, several times, then a pooling."""

    def __init__(self, norm: Callable[[int], nn.Module], act: nn.Module) -> None:
        layers: list[nn.Module] = []
        for index in range(3):
            layers += [nn.Conv2d(WIDTH if index else 3, WIDTH, 3, padding=1), norm(WIDTH), act]
        super().__init__(*layers, nn.AvgPool2d(2), nn.Conv2d(WIDTH, WIDTH, 1, groups=4))
