"""Networks without skips: one convolution or two after the other, with torch's own initialization."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.gate_users.networks.network import run_all
from benchmarks.gate_users.networks.residual import conv


def plain_block(incoming: int, outgoing: int, act: nn.Module, *, norm: bool, pool: bool) -> nn.Sequential:
    """A convolution, perhaps a normalizer, an activation, perhaps a pool."""
    norms = [nn.BatchNorm2d(outgoing)] if norm else []
    pools = [nn.MaxPool2d(2)] if pool else []
    return nn.Sequential(conv(incoming, outgoing, bias=not norm), *norms, act, *pools)


class PlainNetwork(nn.Module):
    """Blocks one behind the other; the width doubles where a pool halves the picture."""

    def __init__(self, act: Callable[[], nn.Module], *, norm: bool, depth: int, pools: tuple[int, ...]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        incoming, outgoing = 3, 16
        for place in range(depth):
            self.blocks.append(plain_block(incoming, outgoing, act(), norm=norm, pool=place in pools))
            incoming, outgoing = outgoing, outgoing * (2 if place in pools else 1)
        self.head = nn.Linear(incoming, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(run_all(self.blocks, x).mean((2, 3)))


class UNet(nn.Module):
    """Two levels down and up again, what was left out concatenated (Ronneberger et al. 2015)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        wide = 2 * width
        self.blocks = nn.ModuleList([
            self._block(3, width), self._block(width, wide), self._block(wide, wide),
            self._block(2 * wide, wide), self._block(wide + width, width),
        ])  # fmt: skip
        self.pool = nn.MaxPool2d(2)
        self.up = nn.Upsample(scale_factor=2)
        self.head = nn.Conv2d(width, 1, 1)

    @staticmethod
    def _block(incoming: int, outgoing: int) -> nn.Sequential:
        return nn.Sequential(conv(incoming, outgoing), nn.BatchNorm2d(outgoing), nn.ReLU(),
                             conv(outgoing, outgoing), nn.BatchNorm2d(outgoing), nn.ReLU())  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        first, second, bottom, third, last = self.blocks
        one = first(x)
        two = second(self.pool(one))
        three = bottom(self.pool(two))
        up = third(torch.cat([self.up(three), two], 1))
        return self.head(last(torch.cat([self.up(up), one], 1)))


def plain_relu() -> nn.Module:
    return PlainNetwork(nn.ReLU, norm=False, depth=5, pools=(1, 3))


def plain_tanh() -> nn.Module:
    return PlainNetwork(nn.Tanh, norm=False, depth=5, pools=(1, 3))


def plain_leaky_relu() -> nn.Module:
    return PlainNetwork(lambda: nn.LeakyReLU(0.01), norm=False, depth=5, pools=(1, 3))


def vgg() -> nn.Module:
    return PlainNetwork(nn.ReLU, norm=True, depth=5, pools=(1, 3))
