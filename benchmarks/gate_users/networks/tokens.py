"""Transformers and what came of them: ViT, GPT, the post-norm encoder, Mixer and ConvNeXt."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from benchmarks.gate_users.networks.network import Joined, run_all


class Attention(nn.Module):
    """Self-attention of several heads, written out."""

    def __init__(self, width: int, heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.scale = 1 / math.sqrt(width // heads)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        samples, tokens, width = x.shape
        q, k, v = self.qkv(x).view(samples, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) * self.scale
        if self.causal:
            later = torch.ones(tokens, tokens, dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(later, -math.inf)
        mixed = scores.softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).reshape(samples, tokens, width))


class MLP(nn.Module):
    """Two linear layers and a GELU."""

    def __init__(self, width: int, hidden: int, act: nn.Module | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU() if act is None else act
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class PreNormBlock(Joined):
    """Attention and MLP, each behind a LayerNorm of its own."""

    def __init__(self, width: int, heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal=causal)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.add(x, self.attention(self.norm1(x)))
        return self.add(x, self.mlp(self.norm2(x)))


class PostNormBlock(Joined):
    """Vaswani et al. 2017: the LayerNorm stands behind the addition."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.mlp = MLP(width, 2 * width, nn.ReLU())
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.add(x, self.attention(x)))
        return self.norm2(self.add(x, self.mlp(x)))


class MixerBlock(Joined):
    """Tolstikhin et al. 2021: one MLP over tokens, one over channels."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.tokens = MLP(tokens, 2 * tokens)
        self.norm2 = nn.LayerNorm(width)
        self.channels = MLP(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.add(x, self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2))
        return self.add(x, self.channels(self.norm2(x)))


class ConvNeXtBlock(Joined):
    """Liu et al. 2022: depthwise 7x7, LayerNorm, two linear layers, and LayerScale."""

    def __init__(self, width: int, layer_scale: float = 1e-6) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * width, width)
        self.layer_scale = nn.Parameter(torch.full((width, 1, 1), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.fc2(self.act(self.fc1(y))).permute(0, 3, 1, 2)
        return self.add(x, y, self.layer_scale)


class Encoder(nn.Module):
    """Patches of a picture, positions, blocks, and a head on the tokens' mean."""

    def __init__(self, blocks: list[nn.Module], width: int, *, positions: bool = True) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.position = nn.Parameter(0.02 * torch.randn(1, 16, width)) if positions else None
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        if self.position is not None:
            x = x + self.position
        return self.head(self.norm(run_all(self.blocks, x)).mean(1))


class GPT(nn.Module):
    """Embeddings of tokens and positions, causal blocks, logits."""

    def __init__(self, vocab: int, tokens: int, width: int, depth: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)
        self.position = nn.Parameter(0.02 * torch.randn(1, tokens, width))
        self.blocks = nn.ModuleList(PreNormBlock(width, 4, causal=True) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x) + self.position
        return self.head(self.norm(run_all(self.blocks, x)))


class ConvNeXt(nn.Module):
    """Patches of two pixels, and two stages."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 2, 2)
        self.blocks = nn.ModuleList([ConvNeXtBlock(width) for _ in range(2)])
        self.down = nn.Sequential(nn.GroupNorm(1, width), nn.Conv2d(width, 2 * width, 2, 2))
        self.deep = nn.ModuleList([ConvNeXtBlock(2 * width) for _ in range(2)])
        self.norm = nn.LayerNorm(2 * width)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = run_all(self.deep, self.down(run_all(self.blocks, self.stem(x))))
        return self.head(self.norm(x.mean((2, 3))))


def small_normal(model: nn.Module) -> None:
    """Draw weights as GPT-2 and ViT do: a normal of 0.02, biases 0."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def vit() -> nn.Module:
    return Encoder([PreNormBlock(32, 4) for _ in range(4)], 32)


def gpt() -> nn.Module:
    model = GPT(64, 16, 32, 4)
    small_normal(model)
    return model


def post_norm() -> nn.Module:
    return Encoder([PostNormBlock(32, 4) for _ in range(4)], 32)


def mixer() -> nn.Module:
    return Encoder([MixerBlock(16, 32) for _ in range(4)], 32, positions=False)


def convnext() -> nn.Module:
    return ConvNeXt()
