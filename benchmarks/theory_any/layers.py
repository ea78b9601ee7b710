"""Parts of the networks: attentions, feed-forward layers, normalizers written out, convolutional blocks."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Norm = Callable[[int], nn.Module]


class Attention(nn.Module):
    """Self-attention of one matrix for queries, keys and values, in one operation or written out."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        causal: bool = True,
        written_out: bool = False,
        dropout: float = 0.0,
        rotary: bool = False,
        key_heads: int | None = None,
        query_norm: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.causal, self.written_out = heads, causal, written_out
        self.dropout, self.rotary, self.key_heads = dropout, rotary, key_heads or heads
        self.size = width // heads
        self.query = nn.Linear(width, width)
        self.key, self.value = (nn.Linear(width, self.key_heads * self.size) for _ in range(2))
        self.proj = nn.Linear(width, width)
        self.norms = nn.ModuleList(nn.RMSNorm(self.size) for _ in range(2)) if query_norm else None

    def forward(self, x: Tensor) -> Tensor:
        samples, tokens, width = x.shape
        query, key, value = (
            part(x).view(samples, tokens, -1, self.size).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        if self.norms is not None:
            query, key = self.norms[0](query), self.norms[1](key)
        if self.rotary:
            query, key = rotated(query), rotated(key)
        if self.key_heads != self.heads:
            key, value = (part.repeat_interleave(self.heads // self.key_heads, dim=1) for part in (key, value))
        if self.written_out:
            y = self._by_hand(query, key, value)
        else:
            y = functional.scaled_dot_product_attention(
                query, key, value, is_causal=self.causal, dropout_p=self.dropout if self.training else 0.0
            )
        return self.proj(y.transpose(1, 2).reshape(samples, tokens, width))

    def _by_hand(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        scores = query @ key.transpose(-2, -1) / math.sqrt(self.size)
        if self.causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, -torch.inf)
        return functional.dropout(scores.softmax(dim=-1), self.dropout, self.training) @ value


def rotated(x: Tensor) -> Tensor:
    """Turn pairs of channels by an angle that grows with the position."""
    tokens, size = x.shape[-2:]
    frequencies = 10_000.0 ** (-torch.arange(0, size, 2) / size)
    angles = torch.outer(torch.arange(tokens), frequencies).repeat(1, 2)
    first, second = x.chunk(2, dim=-1)
    return x * angles.cos() + torch.cat((-second, first), dim=-1) * angles.sin()


class FeedForward(nn.Module):
    """W2 phi(W1 x)."""

    def __init__(self, width: int, act: Callable[[Tensor], Tensor] = functional.gelu, factor: int = 4) -> None:
        super().__init__()
        self.up, self.down, self.act = nn.Linear(width, factor * width), nn.Linear(factor * width, width), act

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.act(self.up(x)))


class Gated(nn.Module):
    """W2 (phi(G x) * (W1 x)), as SwiGLU and GEGLU are."""

    def __init__(self, width: int, act: Callable[[Tensor], Tensor] = functional.silu, *, chunks: bool = False) -> None:
        super().__init__()
        self.up = nn.Linear(width, (6 if chunks else 3) * width, bias=False)
        self.gate = None if chunks else nn.Linear(width, 3 * width, bias=False)
        self.down, self.act = nn.Linear(3 * width, width, bias=False), act

    def forward(self, x: Tensor) -> Tensor:
        up, gate = self.up(x).chunk(2, dim=-1) if self.gate is None else (self.up(x), self.gate(x))
        return self.down(self.act(gate) * up)


class WrittenRms(nn.Module):
    """RMSNorm as many write it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class WrittenLayerNorm(nn.Module):
    """LayerNorm as some write it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5) * self.weight + self.bias


class DynamicTanh(nn.Module):
    """gamma * tanh(alpha x) + beta, in place of a normalizer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.alpha * x) * self.weight + self.bias


class ChannelsFirstNorm(nn.Module):
    """LayerNorm of maps, over the channels of each position."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SqueezeExcite(nn.Module):
    """x * sigmoid(W2 relu(W1 mean(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, width // 2, 1), nn.Conv2d(width // 2, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))


class DropPath(nn.Module):
    """Leaves the branch of some samples out."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.keep = 1 - probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(self.keep).div_(self.keep)
