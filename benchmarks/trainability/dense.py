"""Multilayer perceptrons, mixers and recurrent networks as users write them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.trainability.convolutional import draw

WIDTH = 48


def linear(inside: int, outside: int, init: str = "default", gain: float = 1.0) -> nn.Linear:
    """Return a linear layer, its weights drawn as ``draw`` does."""
    layer = nn.Linear(inside, outside)
    draw(layer, init, gain)
    return layer


def mlp(
    depth: int,
    *,
    init: str = "he",
    gain: float = 1.0,
    activation: Callable[[], nn.Module] = nn.ReLU,
    norm: Callable[[int], nn.Module] | None = None,
    narrowest: int = WIDTH,
    bias: float = 0.0,
    weights_mean: float = 0.0,
    dropout: float = 0.0,
) -> nn.Sequential:
    """Return ``depth`` hidden layers; the middle one has ``narrowest`` units.

    ``bias`` is the deviation of random biases, ``weights_mean`` is added to every weight, in units of 1/fan_in.
    """
    layers: list[nn.Module] = []
    inside = 64
    for index in range(depth):
        outside = narrowest if index == depth // 2 else WIDTH
        layer = linear(inside, outside, init, gain)
        with torch.no_grad():
            layer.weight += weights_mean / inside
        if bias:
            nn.init.normal_(layer.bias, std=bias)
        layers += [layer, *([norm(outside)] if norm else []), activation()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        inside = outside
    return nn.Sequential(*layers, nn.Linear(inside, 10))


class Shifted(nn.Module):
    """ReLU plus a constant."""

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.constant = constant

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x) + self.constant


class DenseBlock(nn.Module):
    """A two-layer branch: pre-norm, post-norm, a norm behind the branch, or none."""

    def __init__(self, width: int, norm: str, init: str, gain: float) -> None:
        super().__init__()
        self.up, self.down = linear(width, width, init), linear(width, width, init, gain)
        self.norm = nn.LayerNorm(width) if norm != "none" else nn.Identity()
        self.kind = norm

    def _branch(self, x: Tensor) -> Tensor:
        return self.down(functional.relu(self.up(x)))

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "pre":
            return x + self._branch(self.norm(x))
        if self.kind == "branch":
            return x + self.norm(self._branch(x))
        return self.norm(x + self._branch(x))


def residual_mlp(depth: int, norm: str, *, init: str = "he", gain: float = 1.0) -> nn.Sequential:
    """Return a residual network of dense blocks."""
    blocks = (DenseBlock(WIDTH, norm, init, gain) for _ in range(depth))
    last = nn.LayerNorm(WIDTH) if norm in {"pre", "branch"} else nn.Identity()
    return nn.Sequential(nn.Linear(64, WIDTH), *blocks, last, nn.Linear(WIDTH, 10))


class MixerBlock(nn.Module):
    """Token mixing, then channel mixing, each pre-norm with a skip connection (or without)."""

    def __init__(self, tokens: int, width: int, skip: bool, init: str) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(linear(tokens, 2 * tokens, init), nn.GELU(), linear(2 * tokens, tokens, init))
        self.channels = nn.Sequential(linear(width, 2 * width, init), nn.GELU(), linear(2 * width, width, init))
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + mixed if self.skip else mixed
        mixed = self.channels(self.norm2(x))
        return x + mixed if self.skip else mixed


class Mixer(nn.Module):
    """An MLP-Mixer over 16 patches of 2x2 pixels."""

    def __init__(self, depth: int, *, skip: bool = True, init: str = "default", width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, 2)
        self.blocks = nn.ModuleList(MixerBlock(16, width, skip, init) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class Recurrent(nn.Module):
    """A plain tanh cell over the picture's pixels, eight at a time, read ``repeats`` times over."""

    def __init__(self, gain: float, repeats: int = 1, width: int = WIDTH) -> None:
        super().__init__()
        self.inside, self.hidden, self.head = nn.Linear(8, width), nn.Linear(width, width), nn.Linear(width, 10)
        nn.init.orthogonal_(self.hidden.weight, gain=gain)
        self.repeats = repeats

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(len(x), 8, 8).repeat(1, self.repeats, 1)
        state = torch.zeros(len(x), self.hidden.out_features)
        for row in rows.unbind(1):
            state = torch.tanh(self.inside(row) + self.hidden(state))
        return self.head(state)


class Gated(nn.Module):
    """PyTorch's own LSTM or GRU over the picture's rows."""

    def __init__(self, cell: type[nn.LSTM | nn.GRU], layers: int) -> None:
        super().__init__()
        self.cell, self.head = cell(8, 32, layers, batch_first=True), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x.reshape(len(x), 8, 8))[0][:, -1])
