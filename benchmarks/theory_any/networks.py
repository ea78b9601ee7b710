"""The networks, by name: each step of theory in company, at a width where many channels mean something."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.theory_any.layers import (
    Attention,
    ChannelsFirstNorm,
    DropPath,
    DynamicTanh,
    FeedForward,
    Gated,
    Norm,
    SqueezeExcite,
    WrittenLayerNorm,
    WrittenRms,
)

WIDTH, HEADS, VOCABULARY = 256, 8, 500
ATTENTION, FEED_FORWARD = partial(Attention, WIDTH, HEADS), partial(FeedForward, WIDTH)


class Block(nn.Module):
    """A transformer's block, its normalizers in front, behind the sums, or behind the branches."""

    def __init__(
        self,
        norm: Norm = nn.LayerNorm,
        place: str = "pre",
        mixer: Callable[[], nn.Module] = ATTENTION,
        mlp: Callable[[], nn.Module] = FEED_FORWARD,
        scale: float | None = None,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2, self.place = norm(WIDTH), norm(WIDTH), place
        self.mixer, self.mlp, self.drop = mixer(), mlp(), DropPath(drop) if drop else nn.Identity()
        self.gamma = None if scale is None else nn.Parameter(torch.full((WIDTH,), scale))

    def forward(self, x: Tensor) -> Tensor:
        if self.place == "parallel":
            y = self.norm1(x)
            return x + self.mixer(y) + self.mlp(y)
        for norm, branch in ((self.norm1, self.mixer), (self.norm2, self.mlp)):
            if self.place == "pre":
                y = branch(norm(x))
                x = x + self.drop(y if self.gamma is None else self.gamma * y)
            elif self.place == "behind":
                x = x + norm(branch(x))
            else:
                x = norm(x + branch(x))
        return x


class Language(nn.Module):
    """Token and position embeddings, blocks, a head."""

    def __init__(self, depth: int = 4, *, gpt: bool = True, positions: bool = True, **block: object) -> None:
        super().__init__()
        self.tokens, self.dropout = nn.Embedding(VOCABULARY, WIDTH), nn.Dropout(0.1)
        self.positions = nn.Embedding(128, WIDTH) if positions else None
        self.blocks = nn.ModuleList(Block(**block) for _ in range(depth))  # type: ignore[arg-type]
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)
        if gpt:
            self.apply(_as_gpt)
            for name, parameter in self.named_parameters():
                if name.endswith(("proj.weight", "down.weight")):
                    nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * depth))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        if self.positions is not None:
            x = x + self.positions(torch.arange(ids.shape[1]))
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def _as_gpt(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


class Vision(nn.Module):
    """Patches, a class token, learned positions, blocks."""

    def __init__(self, depth: int = 4, *, token: bool = True, **block: object) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 8, 8)
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH)) if token else None
        self.positions = nn.Parameter(0.02 * torch.randn(1, 16 + token, WIDTH))
        mixer = partial(Attention, WIDTH, HEADS, causal=False)
        self.blocks = nn.ModuleList(Block(**{"mixer": mixer, **block}) for _ in range(depth))  # type: ignore[arg-type]
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.token is not None:
            x = torch.cat((self.token.expand(len(x), -1, -1), x), dim=1)
        x = x + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(dim=1))


class Encoder(nn.Module):
    """Torch's own layers, each with weights of its own."""

    def __init__(self, **layer: object) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, batch_first=True, **layer)  # type: ignore[arg-type]
            for _ in range(3)
        )

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        for layer in self.layers:
            x = layer(x)
        return x


class Transposed(nn.Module):
    """A layer across the tokens instead of the channels."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.transpose(1, 2)).transpose(1, 2)


class TokenMixer(nn.Module):
    """A mixer's layers across 16 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = Transposed(nn.Linear(16, 64)), Transposed(nn.Linear(64, 16))

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.gelu(self.up(x)))


class ConvBlock(nn.Module):
    """Two 3x3 convolutions beside a skip."""

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int = 1,
        norm: Norm = nn.BatchNorm2d,
        act: Callable[[Tensor], Tensor] = functional.relu,
        *,
        post: bool = False,
        groups: int = 1,
        squeeze: bool = False,
    ) -> None:
        super().__init__()
        self.post, self.act = post, act
        self.norm1, self.norm2 = norm(width if post else inputs), norm(width)
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, groups=groups, bias=False)
        self.skip = nn.Conv2d(inputs, width, 1, stride, bias=False) if stride > 1 or inputs != width else nn.Identity()
        self.squeeze = SqueezeExcite(width) if squeeze else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.post:
            y = self.norm2(self.conv2(self.act(self.norm1(self.conv1(x)))))
            return self.act(self.skip(x) + self.squeeze(y))
        y = self.act(self.norm1(x))
        skip = x if isinstance(self.skip, nn.Identity) else self.skip(y)
        return skip + self.squeeze(self.conv2(self.act(self.norm2(self.conv1(y)))))


class ConvNeXtBlock(nn.Module):
    """A depthwise 7x7 convolution, a normalizer, and a feed-forward layer."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(WIDTH, WIDTH, 7, padding=3, groups=WIDTH), nn.LayerNorm(WIDTH)
        self.mlp, self.gamma = FeedForward(WIDTH), nn.Parameter(torch.full((WIDTH,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.mlp(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))
        return x + (self.gamma * y).permute(0, 3, 1, 2)


class Pictures(nn.Module):
    """A stem and blocks on maps."""

    def __init__(self, *blocks: nn.Module, stride: int = 1) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, WIDTH, 3, stride, 1), nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.stem(x))


class Dense(nn.Module):
    """Each layer's channels are put beside all earlier ones."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [WIDTH + 128 * index for index in range(4)]
        self.stem = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(size) for size in sizes)
        self.convs = nn.ModuleList(nn.Conv2d(size, 128, 3, padding=1, bias=False) for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = torch.cat((x, conv(functional.relu(norm(x)))), dim=1)
        return x


class Plain(nn.Sequential):
    """Layers behind each other, with no skip."""


class Mlp(nn.Module):
    """x + W2 phi(W1 norm(x)), several times."""

    def __init__(self, norm: Norm, act: Callable[[Tensor], Tensor], depth: int = 4) -> None:
        super().__init__()
        self.stem = nn.Linear(64, WIDTH)
        self.norms = nn.ModuleList(norm(WIDTH) for _ in range(depth))
        self.branches = nn.ModuleList(FeedForward(WIDTH, act, 2) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, branch in zip(self.norms, self.branches, strict=True):
            x = x + branch(norm(x))
        return x


def he(model: nn.Module) -> nn.Module:
    """Return a network with He's initialization."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return model


def _two_stages(**block: object) -> Pictures:
    first, down, last = ((WIDTH, WIDTH, 1), (WIDTH, WIDTH, 2), (WIDTH, WIDTH, 1))
    return Pictures(*(ConvBlock(*sizes, **block) for sizes in (first, down, last)))  # type: ignore[arg-type]


def _convolutions(norm: Norm, act: nn.Module, depth: int = 4) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, WIDTH, 3, padding=1)]
    for _ in range(depth):
        layers += [norm(WIDTH), act, nn.Conv2d(WIDTH, WIDTH, 3, padding=1)]
    return Plain(*layers)


def _plain_mlp(depth: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(64, WIDTH)]
    for _ in range(depth):
        layers += [nn.ReLU(), nn.Linear(WIDTH, WIDTH)]
    return he(Plain(*layers))


def _attention(**options: object) -> Callable[[], nn.Module]:
    return partial(Attention, WIDTH, HEADS, **options)  # type: ignore[arg-type]


LANGUAGE: dict[str, Callable[[], nn.Module]] = {
    "gpt": Language,
    "gpt, attention written out, dropout": lambda: Language(mixer=_attention(written_out=True, dropout=0.1)),
    "gpt, torch's initialization": lambda: Language(gpt=False),
    "pre-norm encoder": lambda: Language(gpt=False, mixer=_attention(causal=False)),
    "post-norm, causal": lambda: Language(place="post"),
    "post-norm encoder": lambda: Language(gpt=False, place="post", mixer=_attention(causal=False)),
    "llama": lambda: Language(
        positions=False, norm=WrittenRms, mlp=partial(Gated, WIDTH), mixer=_attention(rotary=True)
    ),
    "grouped queries": lambda: Language(norm=nn.RMSNorm, mixer=_attention(key_heads=2)),
    "query and key norms": lambda: Language(norm=nn.RMSNorm, mixer=_attention(query_norm=True)),
    "geglu in one matrix": lambda: Language(mlp=partial(Gated, WIDTH, functional.gelu, chunks=True)),
    "norms behind branches": lambda: Language(gpt=False, place="behind", norm=nn.RMSNorm),
    "parallel branches": lambda: Language(place="parallel"),
    "layer norm written out": lambda: Language(gpt=False, norm=WrittenLayerNorm),
    "dynamic tanh": lambda: Language(gpt=False, norm=DynamicTanh),
    "torch's layers, post-norm": Encoder,
    "torch's layers, pre-norm": lambda: Encoder(norm_first=True, activation="gelu"),
}
VISION: dict[str, Callable[[], nn.Module]] = {
    "vit": Vision,
    "vit, layer scale": lambda: Vision(scale=0.1),
    "vit, stochastic depth": lambda: Vision(drop=0.2),
    "mixer": lambda: Vision(token=False, mixer=TokenMixer),
}
MAPS: dict[str, Callable[[], nn.Module]] = {
    "pre-activation resnet": _two_stages,
    "pre-activation resnet, he": lambda: he(_two_stages()),
    "post-activation resnet": lambda: _two_stages(post=True),
    "post-activation resnet, he": lambda: he(_two_stages(post=True)),
    "group norm, silu": lambda: _two_stages(norm=partial(nn.GroupNorm, 8), act=functional.silu),
    "instance norm": lambda: _two_stages(norm=nn.InstanceNorm2d),
    "layer norm of maps": lambda: _two_stages(norm=ChannelsFirstNorm, act=functional.gelu),
    "grouped filters": lambda: _two_stages(groups=8),
    "squeeze and excite": lambda: _two_stages(squeeze=True),
    "convnext": lambda: Pictures(*(ConvNeXtBlock() for _ in range(3))),
    "densenet": Dense,
    "plain convolutions": lambda: _convolutions(nn.BatchNorm2d, nn.LeakyReLU(0.1)),
    "transposed convolution": lambda: Pictures(
        ConvBlock(WIDTH, WIDTH), nn.ConvTranspose2d(WIDTH, WIDTH, 4, 2, 1), ConvBlock(WIDTH, WIDTH), stride=2
    ),
    "max-pool": lambda: Pictures(ConvBlock(WIDTH, WIDTH), nn.MaxPool2d(2), ConvBlock(WIDTH, WIDTH)),
}
FEATURES: dict[str, Callable[[], nn.Module]] = {
    "mlp, layer norm, relu": lambda: Mlp(nn.LayerNorm, functional.relu),
    "mlp, batch norm, gelu": lambda: Mlp(nn.BatchNorm1d, functional.gelu),
    "mlp, no norm, tanh": lambda: Mlp(lambda _: nn.Identity(), torch.tanh),
    "mlp, silu written out": lambda: Mlp(nn.LayerNorm, lambda x: x * torch.sigmoid(x)),
    "mlp, squared relu": lambda: Mlp(nn.LayerNorm, lambda x: functional.relu(x).square()),
    "mlp, relu6": lambda: Mlp(nn.LayerNorm, functional.relu6),
    "plain mlp, 4 layers": lambda: _plain_mlp(4),
    "plain mlp, 16 layers": lambda: _plain_mlp(16),
}


def _ids(seed: int) -> Tensor:
    return torch.randint(0, VOCABULARY, (4, 32), generator=torch.Generator().manual_seed(seed))


def _noise(*shape: int) -> Callable[[int], Tensor]:
    return lambda seed: torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# By name: what makes the network, and what draws its input.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor]]] = {
    **{name: (make, _ids) for name, make in LANGUAGE.items()},
    **{name: (make, _noise(8, 3, 32, 32)) for name, make in VISION.items()},
    **{name: (make, _noise(8, 3, 8, 8)) for name, make in MAPS.items()},
    **{name: (make, _noise(32, 64)) for name, make in FEATURES.items()},
}
