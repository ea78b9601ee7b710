"""Transformers, mixers, recurrent networks and language models."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from zoo.case import Row, Zoo, features, tokens, words, zoo
from zoo.convolutional import conv


class Attention(nn.Module):
    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        if bias is not None:
            scores = scores + bias
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, c))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int | None = None) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden or 2 * width), nn.Linear(hidden or 2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.linspace(0.1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class PreNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = nn.LayerNorm(width), Attention(width), LayerScale(width)
        self.norm2, self.mlp, self.ls2 = nn.LayerNorm(width), Mlp(width), LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))

    def by_hand(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        a = self.attn(self.norm1(x))
        x = x + self.ls1.gamma * a
        b = self.mlp(self.norm2(x))
        return [(a, x), (b, x + self.ls2.gamma * b)]


@zoo
class VisionTransformer(Zoo):
    """Patches, a class token, position embeddings (a parameter: no join), layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.cls, self.pos = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        self.blocks = nn.ModuleList([PreNorm(8), PreNorm(8)])
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def embed(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        return torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.pos

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])

    def rows(self, x: Tensor) -> list[Row]:
        x = self.embed(x)
        rows: list[Row] = [("stem", None, x, 2)]
        for index, block in enumerate(self.blocks):
            for number, (branch, out) in enumerate(block.by_hand(x), 1):
                rows.append((f"blocks.{index}#{number}", branch, out, 2))
                x = out
        return rows


class Torch(Zoo):
    """torch's own layer, whose fused form hides its joins."""

    example = staticmethod(tokens)
    mode = "eval"
    norm_first = False

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=self.norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)


@zoo
class TorchPostNorm(Torch):
    """torch's own encoder layer, normalized after the join."""

    def rows(self, x: Tensor) -> list[Row]:
        rows: list[Row] = [("input", None, x, 2)]
        for index, layer in enumerate(self.encoder.layers):
            a = layer.self_attn(x, x, x, need_weights=False)[0]
            x = x + a
            y = layer.norm1(x)
            b = layer.linear2(torch.relu(layer.linear1(y)))
            y = y + b
            rows += [(f"encoder.layers.{index}#1", a, x, 2), (f"encoder.layers.{index}#2", b, y, 2)]
            x = layer.norm2(y)
        return rows


@zoo
class TorchPreNorm(Torch):
    """torch's own encoder layer, normalized before the branch."""

    norm_first = True

    def rows(self, x: Tensor) -> list[Row]:
        rows: list[Row] = [("input", None, x, 2)]
        for index, layer in enumerate(self.encoder.layers):
            y = layer.norm1(x)
            a = layer.self_attn(y, y, y, need_weights=False)[0]
            x = x + a
            b = layer.linear2(torch.relu(layer.linear1(layer.norm2(x))))
            rows += [(f"encoder.layers.{index}#1", a, x, 2), (f"encoder.layers.{index}#2", b, x := x + b, 2)]
        return rows


@zoo
class Mixer(Zoo):
    """Linear layers along the tokens, which are not the channels."""

    example = staticmethod(tokens)

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm1, self.norm2 = nn.Linear(8, 6), nn.LayerNorm(6), nn.LayerNorm(6)
        self.tokens, self.channels = Mlp(5), Mlp(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))

    def rows(self, x: Tensor) -> list[Row]:
        x = self.embed(x)
        a = self.tokens(self.norm1(x).mT).mT
        y = x + a
        b = self.channels(self.norm2(y))
        return [("stem", None, x, 2), ("Mixer#1", a, y, 2), ("Mixer#2", b, y + b, 2)]


@zoo
class ParallelBranches(Zoo):
    """x + attention + mlp: both branches were computed from x, and their sum is what the block adds to it."""

    example = staticmethod(tokens)
    rejected = ("ParallelBranches~1",)

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attn, self.mlp = nn.LayerNorm(8), Attention(8), Mlp(8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.attn(y) + self.mlp(y)

    def rows(self, x: Tensor) -> list[Row]:
        y = self.norm(x)
        branch = self.attn(y) + self.mlp(y)
        return [("input", None, x, 2), (type(self).__name__, branch, x + branch, 2)]


@zoo
class SummedBranches(ParallelBranches):
    """(attention + mlp) + x: the sum of both is the one branch."""

    rejected = ("SummedBranches~1",)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return self.attn(y) + self.mlp(y) + x


@dataclass
class Output:
    logits: Tensor
    hidden: tuple[Tensor, ...]


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def gelu_by_hand(x: Tensor) -> Tensor:
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


def rotate(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2], dtype=x.dtype, device=x.device)[:, None] * torch.ones(1, x.shape[-1])
    turned = torch.cat((-x[..., half:], x[..., :half]), -1)
    return (x * angle.cos()) + (turned * angle.sin())


@zoo
class LanguageModel(Zoo):
    """Integers in, keywords, a mask that is added to the scores, rotated positions, a GELU by hand, a dataclass out.

    Its norm after the branch multiplies by a weight, which is no scale of the branch.
    """

    example = staticmethod(lambda: {"input_ids": words(), "attention_mask": torch.ones(3, 5)})
    rejected = ("LanguageModel~1", "block~1", "block~2", "block~3", "block~4")

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.post, self.qkv, self.out = RMSNorm(8), RMSNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
            self.fc1, self.fc2 = nn.Linear(8, 16), nn.Linear(16, 8)

        def attention(self, x: Tensor, mask: Tensor) -> Tensor:
            q, k, v = self.qkv(x).chunk(3, -1)
            return self.out(((rotate(q) @ rotate(k).mT + mask).softmax(-1)) @ v)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            residual = x
            x = self.post(self.attention(self.norm(x), mask))
            x = residual + x
            return x + self.fc2(gelu_by_hand(self.fc1(x)))

    def __init__(self) -> None:
        super().__init__()
        self.word, self.kind_of, self.place = nn.Embedding(11, 8), nn.Embedding(2, 8), nn.Embedding(7, 8)
        self.block, self.head = self.Block(), nn.Linear(8, 11)

    def embed(self, input_ids: Tensor) -> Tensor:
        # Positions counted from the input, as RoBERTa does: a sum of two embeddings of one input.
        positions = torch.cumsum(input_ids.ne(0).int(), 1).long()
        return self.word(input_ids) + self.place(positions) + self.kind_of(torch.zeros_like(input_ids))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Output:
        x = self.embed(input_ids)
        mask = (1.0 - attention_mask[:, None, :].to(x)) * -1e4 + torch.full((5, 5), -1e4).triu(1).to(x)
        x = self.block(x, mask.expand(3, 5, 5))
        return Output(self.head(x), (x,))

    def rows(self, input_ids: Tensor, attention_mask: Tensor) -> list[Row]:
        x = self.embed(input_ids)
        mask = torch.full((5, 5), -1e4).triu(1).to(x)
        a = self.block.post(self.block.attention(self.block.norm(x), mask))
        y = x + a
        b = self.block.fc2(functional.gelu(self.block.fc1(y), approximate="tanh"))
        return [("stem", None, x, 2), ("block#1", a, y, 2), ("block#2", b, y + b, 2)]


@zoo
class SharedTwice(Zoo):
    """One block, called twice: one site per call."""

    example = staticmethod(features)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return x + torch.tanh(self.fc(x))

    def __init__(self) -> None:
        super().__init__()
        self.block = self.Block()
        self.again = self.block

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.block(x))

    def rows(self, x: Tensor) -> list[Row]:
        rows: list[Row] = [("input", None, x, 1)]
        for call in (1, 2):
            branch = torch.tanh(self.block.fc(x))
            x = x + branch
            rows.append((f"block@{call}", branch, x, 1))
        return rows


@zoo
class TiedRecurrent(Zoo):
    """One weight, applied in a loop of the forward pass itself."""

    example = staticmethod(features)

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        states = []
        for _ in range(3):
            x = x + 0.5 * functional.relu(self.fc(x))
            states.append(x)
        return x, states

    def rows(self, x: Tensor) -> list[Row]:
        rows: list[Row] = [("input", None, x, 1)]
        for number in (1, 2, 3):
            branch = torch.relu(self.fc(x))
            x = x + 0.5 * branch
            rows.append((f"TiedRecurrent#{number}", branch, x, 1))
        return rows


@zoo
class RecurrentLayer(Zoo):
    """The sums inside torch's own cells are none; the one around them is."""

    example = staticmethod(tokens)

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.cell = nn.LSTM(8, 8, batch_first=True), nn.GRUCell(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = x + self.lstm(x)[0]
        return self.cell(y[:, 0], y[:, 1])

    def rows(self, x: Tensor) -> list[Row]:
        branch = self.lstm(x)[0]
        return [("input", None, x, 2), ("RecurrentLayer", branch, x + branch, 2)]


@zoo
class CrossAttention(Zoo):
    """A decoder that looks at an encoder: a sum with what another input was computed into."""

    example = staticmethod(lambda: {"source": tokens(), "target": tokens().flip(0)})

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(8, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, source: Tensor, target: Tensor) -> dict[str, object]:
        memory = torch.relu(self.encoder(source))
        return {"out": [target + self.attention(target, memory, memory)[0]], "memory": memory}

    def rows(self, source: Tensor, target: Tensor) -> list[Row]:
        memory = torch.relu(self.encoder(source))
        branch = self.attention(target, memory, memory)[0]
        return [("input", None, target, 2), ("CrossAttention", branch, target + branch, 2)]


@zoo
class Conv1d(Zoo):
    """(N, C, T): three axes, channels on the first."""

    example = staticmethod(lambda: tokens().mT)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv1d(8, 6, 1), nn.Conv1d(6, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x + self.conv(functional.relu(x))

    def rows(self, x: Tensor) -> list[Row]:
        x = self.stem(x)
        branch = self.conv(functional.relu(x))
        return [("stem", None, x, 1), ("Conv1d", branch, x + branch, 1)]


@zoo
class Conv3d(Zoo):
    """(N, C, D, H, W)."""

    example = staticmethod(lambda: torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(1)))

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv3d(2, 4, 1), nn.Conv3d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x + self.conv(functional.relu(x))

    def rows(self, x: Tensor) -> list[Row]:
        x = self.stem(x)
        branch = self.conv(functional.relu(x))
        return [("stem", None, x, 1), ("Conv3d", branch, x + branch, 1)]


@zoo
class Checkpointed(Zoo):
    """Gradient checkpointing, which runs blocks again in the backward pass."""

    example = staticmethod(features)
    reentrant = False

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        def block(x: Tensor) -> Tensor:
            return x + torch.tanh(self.fc(x))

        return checkpoint(block, x, use_reentrant=self.reentrant)

    def rows(self, x: Tensor) -> list[Row]:
        branch = torch.tanh(self.fc(x))
        return [("input", None, x, 1), (type(self).__name__, branch, x + branch, 1)]


@zoo
class AddModule(Zoo):
    """The sum is a module of its own."""

    class Add(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return torch.add(input=a, other=b)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc, self.add = conv(3, 4), conv(4, 4), self.Add()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.add(self.fc(x), x)

    def rows(self, x: Tensor) -> list[Row]:
        x = self.stem(x)
        branch = self.fc(x)
        return [("stem", None, x, 1), ("add", branch, x + branch, 1)]


# Models without residual joins: one row per leaf module.


@zoo
class Vgg(Zoo):
    """A plain stack; parameters and numbers that are added are no joins."""

    kind = "module"

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(conv(3, 4), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.bias, self.fc = nn.Parameter(torch.randn(4, 4, 4)), nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x) + self.bias + 1.0
        return self.fc(torch.flatten(x, 1))

    def rows(self, x: Tensor) -> list[Row]:
        a = self.features[0](x)
        b = torch.relu(a)
        c = self.features[2](b)
        d = self.fc((c + self.bias + 1).flatten(1))
        return [(f"features.{i}", None, y, 1) for i, y in enumerate((a, b, c))] + [("fc", None, d, 1)]


@zoo
class Inception(Zoo):
    """Ways side by side, none of which is a skip."""

    kind = "module"

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 2, 1), conv(3, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(x), self.b(x)], 1)

    def rows(self, x: Tensor) -> list[Row]:
        return [("a", None, self.a(x), 1), ("b", None, self.b(x), 1)]


@zoo
class Auxiliary(Zoo):
    """Sums that are not residual: of two towers, of two heads, of losses, of a signal and itself, of scores."""

    kind = "module"
    example = staticmethod(lambda: {"a": features(), "b": features().flip(0)})
    rejected = tuple(f"Auxiliary~{number}" for number in range(1, 6))

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(6, 6), nn.Linear(6, 6)
        self.head1, self.head2 = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        towers = self.left(a) + self.right(b)
        heads = self.head1(towers) + self.head2(towers)
        loss = heads.pow(2).mean() + towers.abs().mean()
        doubled = towers + towers
        activated = towers + torch.sigmoid(towers)
        scores = torch.softmax(a @ a.T + torch.tanh(a) @ self.left.weight @ torch.tanh(a).T, -1)
        return doubled + loss, activated, scores

    def rows(self, a: Tensor, b: Tensor) -> list[Row]:
        left, right = self.left(a), self.right(b)
        towers = left + right
        heads = self.head1(towers), self.head2(towers)
        found = zip(("left", "right", "head1", "head2"), (left, right, *heads), strict=True)
        return [(name, None, value, 1) for name, value in found]


@zoo
class NormalizedBranch(Zoo):
    """A branch that ends in a norm, torch's own and one by hand, whose weight is no scale of the branch."""

    example = staticmethod(tokens)

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm, self.own = nn.Linear(8, 8), nn.RMSNorm(8), RMSNorm(8)
        nn.init.uniform_(self.norm.weight, 0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.norm(self.fc(x))
        return x + self.own(torch.tanh(x))

    def rows(self, x: Tensor) -> list[Row]:
        # torch's own takes the type's epsilon, that of float32 in the network that is measured.
        y = self.fc(x)
        a = self.norm.weight * y / (y.square().mean(-1, keepdim=True) + torch.finfo(torch.float32).eps).sqrt()
        y = x + a
        b = self.own(torch.tanh(y))
        return [("input", None, x, 2), ("NormalizedBranch#1", a, y, 2), ("NormalizedBranch#2", b, y + b, 2)]
