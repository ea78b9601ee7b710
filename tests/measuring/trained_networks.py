"""Small networks with real data to train them on; each can keep the values that its rows describe."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

CONTEXT = 16


class ConvolutionalBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.convolution = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, seen: list[tuple[Tensor | None, Tensor]]) -> Tensor:
        branch = self.convolution(functional.relu(self.norm(x)))
        output = x + branch
        seen.append((branch, output))
        return output


class Digits(nn.Module):
    """A pre-activation network for pictures of 8×8."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 12, 3, padding=1)
        self.blocks = nn.ModuleList([ConvolutionalBlock(12) for _ in range(depth)])
        self.head = nn.Linear(12, 10)
        self.seen: list[tuple[Tensor | None, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        self.seen = [(None, x)]
        for block in self.blocks:
            x = block(x, self.seen)
        return self.head(x.mean((2, 3)))


class TransformerBlock(nn.Module):
    def __init__(self, width: int, drop: float = 0.0) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout, self.drop = nn.Dropout(0.1), drop

    def forward(self, x: Tensor, seen: list[tuple[Tensor | None, Tensor]]) -> Tensor:
        if self.training and self.drop and torch.rand(()) < self.drop:
            return x
        q, k, v = self.qkv(self.norms[0](x)).chunk(3, -1)
        attention = self.projection(functional.scaled_dot_product_attention(q, k, v, is_causal=True))
        x = x + attention
        seen.append((attention, x))
        branch = self.narrow(functional.gelu(self.wide(self.norms[1](x))))
        x = x + self.dropout(branch)
        seen.append((branch, x))
        return x


class Text(nn.Module):
    """A small GPT over characters."""

    def __init__(self, depth: int = 2, width: int = 24, drop: float = 0.0) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(128, width), nn.Parameter(torch.randn(CONTEXT, width) / 10)
        self.blocks = nn.ModuleList([TransformerBlock(width, drop) for _ in range(depth)])
        self.head = nn.Linear(width, 128)
        self.seen: list[tuple[Tensor | None, Tensor]] = []

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.place
        self.seen = [(None, x)]
        for block in self.blocks:
            x = block(x, self.seen)
        return self.head(x).transpose(1, 2)


def iter_digits(batches: int, size: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
    data = load_digits()
    pictures, labels = torch.from_numpy(data.images).float().div(16), torch.from_numpy(data.target)
    for index in range(batches):
        chosen = slice(index * size, (index + 1) * size)
        yield pictures[chosen, None], labels[chosen]


def iter_text(batches: int, size: int = 8) -> Iterator[tuple[Tensor, Tensor]]:
    # What Python itself brings along.
    text = torch.tensor(list(inspect.getsource(json.decoder).encode("ascii", "ignore")))
    generator = torch.Generator().manual_seed(1)
    for _ in range(batches):
        starts = torch.randint(len(text) - CONTEXT - 1, (size,), generator=generator)
        windows = torch.stack([text[start : start + CONTEXT + 1] for start in starts])
        yield windows[:, :-1], windows[:, 1:]
