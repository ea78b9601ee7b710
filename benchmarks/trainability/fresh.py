"""Networks that were written, trained and judged after every rule and limit had been fixed: the honest hold-out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.trainability import convolutional as conv
from benchmarks.trainability import dense, sequences

# A name, ``image``, ``flat`` or ``text``, how strong it is, and the factory.
Row = tuple[str, str, object, Callable[[], nn.Module]]


class UNet(nn.Module):
    """Down twice, up twice, with concatenated skips; ``norm`` or ``gain`` times He's weights."""

    def __init__(self, norm: bool, gain: float, width: int = 8) -> None:
        super().__init__()

        def pair(inside: int, outside: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for a, b in ((inside, outside), (outside, outside)):
                layers += [conv.convolution(a, b, "he", gain), nn.BatchNorm2d(b) if norm else nn.Identity(), nn.ReLU()]
            return nn.Sequential(*layers)

        self.down = nn.ModuleList([pair(1, width), pair(width, 2 * width), pair(2 * width, 4 * width)])
        self.up = nn.ModuleList([pair(6 * width, 2 * width), pair(3 * width, width)])
        self.head = conv.head(width)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down[0](x)
        second = self.down[1](functional.max_pool2d(first, 2))
        third = self.down[2](functional.max_pool2d(second, 2))
        x = self.up[0](torch.cat([functional.interpolate(third, scale_factor=2), second], 1))
        return self.head(self.up[1](torch.cat([functional.interpolate(x, scale_factor=2), first], 1)))


class Scaled(nn.Module):
    """A network behind a factor, as inputs that nobody standardized."""

    def __init__(self, times: float, network: nn.Module) -> None:
        super().__init__()
        self.times, self.network = times, network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self.times * x)


def one_layer(factor: float) -> nn.Sequential:
    """Return an MLP of He's weights, those of its third layer times a factor."""
    model = dense.mlp(6)
    model[4].weight.data.mul_(factor)
    return model


def separable(depth: int, norm: bool, gamma: float = 1.0, width: int = 16) -> nn.Sequential:
    """Return a MobileNet without skips: depthwise and pointwise convolutions."""
    layers: list[nn.Module] = [conv.convolution(1, width)]
    for _ in range(depth):
        for layer in (nn.Conv2d(width, width, 3, padding=1, groups=width), nn.Conv2d(width, width, 1)):
            norms = [nn.BatchNorm2d(width)] if norm else []
            for each in norms:
                nn.init.constant_(each.weight, gamma)
            layers += [layer, *norms, nn.ReLU6()]
    return nn.Sequential(*layers, conv.head(width))


class Temporal(nn.Module):
    """Gated, dilated convolutions over the picture read as a series, with skip connections."""

    def __init__(self, depth: int, gain: float = 1.0, width: int = 16) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv1d(1, width, 1), nn.Linear(width, 10)
        self.gates = nn.ModuleList(
            nn.Conv1d(width, 2 * width, 3, padding=2 ** (k % 5), dilation=2 ** (k % 5)) for k in range(depth)
        )
        self.outs = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(depth))
        for layer in (*self.gates, *self.outs):
            layer.weight.data.mul_(gain)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x[:, None])
        for gate, out in zip(self.gates, self.outs, strict=True):
            a, b = gate(x).chunk(2, 1)
            x = x + out(torch.tanh(a) * torch.sigmoid(b))
        return self.head(x.mean(2))


class Gates(nn.Module):
    """Gated linear units, one after another; with a normalizer and a skip connection, or bare."""

    def __init__(self, depth: int, residual: bool, gain: float = 1.0, width: int = 48) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(64, width), nn.Linear(width, 10)
        self.layers = nn.ModuleList(dense.linear(width, 2 * width, "lecun", gain) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) if residual else nn.Identity() for _ in range(depth))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            out = functional.glu(layer(norm(x)), -1)
            x = x + out if self.residual else out
        return self.head(x)


class Rows(nn.Module):
    """A recurrent module over the picture's rows, all its weights times a gain."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU], gain: float, layers: int = 1) -> None:
        super().__init__()
        self.cell, self.head = kind(8, 32, layers, batch_first=True, bidirectional=True), nn.Linear(64, 10)
        for parameter in self.cell.parameters():
            parameter.data.mul_(gain)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x.reshape(len(x), 8, 8))[0].mean(1))


def language(depth: int, std: float) -> nn.Module:
    """Return a pre-norm language model whose weights all have one deviation."""
    model = sequences.Language(depth, embedding=std)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=std)
    return model


def biased_head(bias: float) -> nn.Sequential:
    """Return an MLP whose head prefers one class from the start."""
    model = dense.mlp(4)
    model[-1].bias.data[3] = bias
    return model


def _each(kind: str, data: str, values: tuple[object, ...], make: Callable[..., nn.Module]) -> Iterator[Row]:
    for value in values:
        yield f"fresh-{kind}", data, value, lambda value=value: make(value)


def iter_fresh() -> Iterator[Row]:
    """Yield the networks."""
    yield from _each("unet-bn", "image", (1.0,), lambda gain: UNet(norm=True, gain=gain))
    yield from _each("unet", "image", (0.1, 1.0, 4.0, 20.0), lambda gain: UNet(norm=False, gain=gain))
    yield from _each("one-layer", "flat", (0.0, 1e-3, 30.0, 1e4), one_layer)
    yield from _each("input-times", "flat", (1e-8, 1e-2, 100.0, 1e6), lambda s: Scaled(s, dense.mlp(4, init="default")))
    yield from _each(
        "input-times-tanh", "flat", (1e-8, 100.0), lambda s: Scaled(s, dense.mlp(4, init="lecun", activation=nn.Tanh))
    )
    yield from _each("separable-bn", "image", (3, 10), lambda n: separable(n, norm=True))
    yield from _each("separable", "image", (2, 5, 10), lambda n: separable(n, norm=False))
    yield from _each("separable-gamma", "image", (1e-4, 0.1, 30.0), lambda g: separable(4, norm=True, gamma=g))
    yield from _each("temporal", "flat", (4, 12), lambda n: Temporal(n))
    yield from _each("temporal-gain", "flat", (0.01, 6.0, 60.0), lambda g: Temporal(8, g))
    yield from _each("gates-residual", "flat", (4, 16), lambda n: Gates(n, residual=True))
    yield from _each("gates", "flat", (2, 4, 8, 16), lambda n: Gates(n, residual=False))
    yield from _each("gates-gain", "flat", (4.0, 16.0), lambda g: Gates(8, residual=False, gain=g))
    yield from _each("lstm-gain", "flat", (0.01, 1.0, 30.0), lambda g: Rows(nn.LSTM, g))
    yield from _each("gru-gain", "flat", (0.01, 1.0, 30.0), lambda g: Rows(nn.GRU, g, 2))
    yield from _each("language-std", "text", (0.02, 0.2, 0.5, 3.0), lambda s: language(4, s))
    yield from _each("language-deep-std", "text", (0.02, 1.0), lambda s: language(12, s))
    yield from _each("biased-head", "flat", (5.0, 1e3), biased_head)
    yield from _each(
        "vision-scaled", "image", (0.1, 0.5), lambda s: sequences.Vision(10, "none", init="lecun", scale=s)
    )
    yield from _each("vision-lecun", "image", (2, 10), lambda n: sequences.Vision(n, init="lecun"))
    yield from _each("vision-post-lecun", "image", (3, 10, 20), lambda n: sequences.Vision(n, "post", init="lecun"))
    yield from _each(
        "leaky-default", "image", (3, 8, 24), lambda n: conv.plain(n, activation=lambda: nn.LeakyReLU(0.1))
    )
    yield from _each("mixer-he", "image", (2, 8), lambda n: dense.Mixer(n, init="he"))
    yield from _each("resnet-wide", "image", (2, 6), lambda n: conv.ResNet(n, width=24))
