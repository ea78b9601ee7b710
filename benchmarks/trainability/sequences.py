"""Transformers as users write them: language models over characters, and over patches of pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.trainability.convolutional import draw
from benchmarks.trainability.data import ALPHABET, LENGTH

WIDTH = 32


class Attention(nn.Module):
    """Causal multi-head attention; ``sharpness`` multiplies the scores."""

    def __init__(self, width: int, heads: int, init: str, gain: float, sharpness: float, causal: bool) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        for layer in (self.qkv, self.out):
            draw(layer, init, gain)
        self.heads, self.sharpness, self.causal = heads, sharpness, causal

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = functional.scaled_dot_product_attention(self.sharpness * query, key, value, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention and MLP; ``norm``: ``pre``, ``post``, ``branch`` or ``none``."""

    def __init__(
        self, norm: str, skip: bool, init: str, gain: float, sharpness: float, causal: bool, scale: float, width: int
    ) -> None:
        super().__init__()
        self.attention = Attention(width, 2, init, gain, sharpness, causal)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        for layer in (self.up, self.down):
            draw(layer, init, gain)
        self.norm1, self.norm2 = (nn.LayerNorm(width) if norm != "none" else nn.Identity() for _ in range(2))
        self.norm, self.skip, self.scale = norm, skip, scale

    def _mlp(self, x: Tensor) -> Tensor:
        return self.down(functional.gelu(self.up(x)))

    def _add(self, x: Tensor, branch: Tensor) -> Tensor:
        return x + self.scale * branch if self.skip else branch

    def forward(self, x: Tensor) -> Tensor:
        if self.norm == "post":
            x = self.norm1(self._add(x, self.attention(x)))
            return self.norm2(self._add(x, self._mlp(x)))
        if self.norm == "branch":
            x = self._add(x, self.norm1(self.attention(x)))
            return self._add(x, self.norm2(self._mlp(x)))
        x = self._add(x, self.attention(self.norm1(x)))
        return self._add(x, self._mlp(self.norm2(x)))


def layers(
    depth: int,
    norm: str = "pre",
    *,
    skip: bool = True,
    init: str = "default",
    gain: float = 1.0,
    sharpness: float = 1.0,
    causal: bool = True,
    scale: float = 1.0,
    width: int = WIDTH,
) -> nn.ModuleList:
    """Return a stack of layers."""
    return nn.ModuleList(Layer(norm, skip, init, gain, sharpness, causal, scale, width) for _ in range(depth))


class Language(nn.Module):
    """A character-level language model; ``final``: a LayerNorm before the head."""

    def __init__(
        self, depth: int, norm: str = "pre", *, embedding: float = 0.02, final: bool = True, **options: object
    ):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(len(ALPHABET), WIDTH), nn.Embedding(LENGTH, WIDTH)
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=embedding)
        self.blocks = layers(depth, norm, **options)
        self.norm = nn.LayerNorm(WIDTH) if final and norm != "post" else nn.Identity()
        self.head = nn.Linear(WIDTH, len(ALPHABET))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Vision(nn.Module):
    """A vision transformer over 16 patches of 2x2 pixels."""

    def __init__(self, depth: int, norm: str = "pre", **options: object) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, 2, 2)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 16, WIDTH))
        self.blocks = layers(depth, norm, causal=False, **options)
        self.norm = nn.LayerNorm(WIDTH) if norm != "post" else nn.Identity()
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))
