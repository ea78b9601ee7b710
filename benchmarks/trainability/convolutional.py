"""Convolutional networks as users write them: plain, with normalizers, with skip connections."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 8


def convolution(inside: int, outside: int, init: str = "default", gain: float = 1.0) -> nn.Conv2d:
    """Return a 3x3 convolution with PyTorch's own weights, He's, Xavier's or a standard normal's, times ``gain``."""
    layer = nn.Conv2d(inside, outside, 3, padding=1)
    draw(layer, init, gain)
    return layer


def draw(layer: nn.Conv2d | nn.Linear, init: str, gain: float = 1.0) -> None:
    """Draw a layer's weights; biases are 0 but for PyTorch's own."""
    if init == "he":
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    elif init == "xavier":
        nn.init.xavier_normal_(layer.weight)
    elif init == "lecun":
        nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
    elif init == "normal":
        nn.init.normal_(layer.weight)
    elif init == "zero":
        nn.init.zeros_(layer.weight)
    if init != "default" and layer.bias is not None:
        nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layer.weight *= gain


def head(width: int) -> nn.Sequential:
    """Return what follows the last block: quadrants are kept apart, since a digit of 8x8 pixels is not its average."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10))


def plain(
    depth: int,
    *,
    init: str = "default",
    gain: float = 1.0,
    norm: Callable[[int], nn.Module] | None = None,
    activation: Callable[[], nn.Module] = nn.ReLU,
    bias: float = 0.0,
    width: int = WIDTH,
) -> nn.Sequential:
    """Return convolution, normalizer, activation, ``depth`` times."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layer = convolution(1 if index == 0 else width, width, init, gain)
        if bias:
            nn.init.constant_(layer.bias, bias)
        layers += [layer, *([norm(width)] if norm else []), activation()]
    return nn.Sequential(*layers, head(width))


class Block(nn.Module):
    """Two convolutions and a skip connection.

    ``order``: ``post`` (ReLU behind the addition), ``pre`` (normalizer and ReLU before each convolution) or ``bare``
    (nothing behind the addition).
    """

    def __init__(self, width: int, order: str, norm: bool, init: str, scale: float | None, last: str | None) -> None:
        super().__init__()
        self.first = convolution(width, width, init)
        self.second = convolution(width, width, last or init)
        self.norm1 = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.norm2 = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.order = order
        self.scale = 1.0 if scale is None else scale

    def forward(self, x: Tensor) -> Tensor:
        if self.order == "pre":
            out = self.first(functional.relu(self.norm1(x)))
            return x + self.scale * self.second(functional.relu(self.norm2(out)))
        out = functional.relu(self.norm1(self.first(x)))
        out = x + self.scale * self.norm2(self.second(out))
        return functional.relu(out) if self.order == "post" else out


class ResNet(nn.Module):
    """A stem, blocks, and a head, with a normalizer before the head where ``final`` asks for one."""

    def __init__(
        self,
        depth: int,
        *,
        order: str = "post",
        norm: bool = True,
        init: str = "default",
        scale: float | None = None,
        last: str | None = None,
        final: bool = True,
        width: int = WIDTH,
    ) -> None:
        super().__init__()
        self.stem = convolution(1, width, init)
        self.blocks = nn.ModuleList(Block(width, order, norm, init, scale, last) for _ in range(depth))
        self.final = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU()) if order == "pre" and final else nn.Identity()
        self.head = head(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.final(x))


class ScaledBlock(nn.Module):
    """A branch behind a gain that is learnt and starts at ``gain``: ReZero, LayerScale, BatchNorm's gamma."""

    def __init__(self, width: int, gain: float, norm: bool) -> None:
        super().__init__()
        self.first, self.second = convolution(width, width, "he"), convolution(width, width, "he")
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.gain = nn.Parameter(torch.full((width, 1, 1), gain))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gain * self.norm(self.second(functional.relu(self.first(x))))


class Scaled(nn.Module):
    """A network of such blocks."""

    def __init__(self, depth: int, gain: float, *, norm: bool = False, width: int = WIDTH) -> None:
        super().__init__()
        self.stem = convolution(1, width, "he")
        self.blocks = nn.Sequential(*(ScaledBlock(width, gain, norm) for _ in range(depth)))
        self.head = head(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, LayerNorm over channels, an MLP of pointwise layers, LayerScale."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), scale))
        for layer in (self.up, self.down):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        out = self.scale * self.down(functional.gelu(self.up(out)))
        return x + out.permute(0, 3, 1, 2)


def convnext(depth: int, scale: float) -> nn.Sequential:
    """Return a ConvNeXt of one stage."""
    stem = nn.Conv2d(1, 16, 2, 2)
    return nn.Sequential(stem, *(ConvNeXtBlock(16, scale) for _ in range(depth)), nn.GroupNorm(1, 16), head(16))


class Named(nn.Module):
    """One of sppkit's own architectures behind a head; what has normalizers has one before the head, too."""

    def __init__(self, arch: str, stages: tuple[int, ...], **options: object) -> None:
        super().__init__()
        import sppkit

        seed = int(torch.randint(2**31, ()).item())
        self.body = sppkit.build_model(arch, stages=stages, width=1 / 16, stem="cifar", seed=seed, **options)
        channels = 16 * 2 ** (len(stages) - 1)
        self.final = nn.BatchNorm2d(channels) if "bn" in arch else nn.Identity()
        self.head = head(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.relu(self.final(self.body(x.expand(-1, 3, -1, -1)))))
