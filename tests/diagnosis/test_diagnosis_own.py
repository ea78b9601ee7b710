"""What is said of networks that sppkit did not build: layers, transformers, dense and post-activation networks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import sppkit

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Make = Callable[[], nn.Module]

SAMPLES = 8


def initialized(model: nn.Module, set_weight: Callable[[Tensor], Any]) -> nn.Module:
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                set_weight(module.weight)
                if module.bias is not None:
                    module.bias.zero_()
    return model


def he(weight: Tensor) -> None:
    nn.init.kaiming_normal_(weight, nonlinearity="relu")


def small(weight: Tensor) -> None:
    nn.init.normal_(weight, std=0.02)


def mlp(depth: int, *between: Callable[[], nn.Module], width: int = 128) -> nn.Module:
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Linear(64 if index == 0 else width, width), *(make() for make in between)]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def biased() -> nn.Module:
    model = initialized(mlp(8, nn.ReLU), he)
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                layer.bias.normal_(std=50)
    return model


def vgg(*, norm: bool) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for size in (16, 32, 64, 64):
        for _ in range(2):
            layers += [nn.Conv2d(channels, size, 3, padding=1, bias=False), *([nn.BatchNorm2d(size)] if norm else [])]
            layers.append(nn.ReLU(inplace=True))
            channels = size
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        mixed: Tensor = self.out(nn.functional.scaled_dot_product_attention(query, key, value))
        return mixed


class TransformerBlock(nn.Module):
    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.branches = nn.ModuleList([Attention(width), mlp])
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        for norm, branch in zip(self.norms, self.branches, strict=True):
            x = x + self.scale * branch(norm(x))
        return x


class Transformer(nn.Module):
    """Tokens in; GPT-like, or with ``scale`` a LayerScale."""

    def __init__(self, depth: int = 8, scale: float = 1.0, width: int = 64, embedding: float = 0.02) -> None:
        super().__init__()
        self.tokens = nn.Embedding(100, width)
        self.blocks = nn.Sequential(*(TransformerBlock(width, scale) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        initialized(self, small)
        nn.init.normal_(self.tokens.weight, std=embedding)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.blocks(self.tokens(x)))
        return out


def wide_transformer() -> nn.Module:
    """Embeddings that are small beside the branches, as in the first blocks of Llama."""
    return initialized(Transformer(embedding=0.02), lambda weight: nn.init.normal_(weight, std=0.15))


def loud_transformer() -> nn.Module:
    """A transformer of linear growth, but with branches a hundred times as strong as its embeddings."""
    return initialized(Transformer(embedding=1.0), lambda weight: nn.init.normal_(weight, std=0.4))


def one_loud_branch() -> nn.Module:
    model = initialized(Transformer(embedding=1.0), lambda weight: nn.init.normal_(weight, std=0.1))
    with torch.no_grad():
        model.blocks[4].branches[1][2].weight.mul_(30)
    return model


class ResidualBlock(nn.Module):
    """Post-activation, as He et al. 2015 publish it, or without normalizers."""

    def __init__(self, incoming: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(incoming, channels, 3, stride, 1, bias=False)
        self.norm0 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or incoming != channels:
            conv = nn.Conv2d(incoming, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm1(self.conv1(nn.functional.relu(self.norm0(self.conv0(x)))))
        return nn.functional.relu(branch + self.shortcut(x))


def resnet(*stages: int, change: Callable[[ResidualBlock], Any] = lambda _: None, pooled: bool = False) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    layers += [nn.MaxPool2d(3, 2, 1)] if pooled else []
    channels = 16
    for stage, blocks in enumerate(stages):
        for block in range(blocks):
            outgoing = 16 * 2**stage
            layers.append(ResidualBlock(channels, outgoing, 2 if stage and not block else 1))
            channels = outgoing
    model = initialized(nn.Sequential(*layers), he)
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, ResidualBlock):
                change(layer)
    return model


def zero_last(block: ResidualBlock) -> None:
    block.norm1.weight.zero_()


def one_zero() -> nn.Module:
    model = resnet(3, 3)
    nn.init.zeros_(model[5].norm1.weight)
    return model


class Residual(nn.Module):
    """x + f(x) without any normalizer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.branch(x)
        return out


class DenseLayer(nn.Module):
    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, growth, 3, padding=1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.branch(x)], 1)


def densenet(silent: int | None = None) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1)]
    channels = 16
    for stage in range(2):
        layers += [DenseLayer(channels + 8 * index, 8) for index in range(4)]
        channels += 32
        if stage == 0:
            layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels // 2, 1), nn.AvgPool2d(2)]
            channels //= 2
    model = initialized(nn.Sequential(*layers), he)
    if silent is not None:
        nn.init.zeros_([layer for layer in model if isinstance(layer, DenseLayer)][silent].branch[2].weight)
    return model


PICTURE, VECTOR, TOKENS = "picture", "vector", "tokens"


def batch(kind: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if kind == TOKENS:
        return torch.randint(100, (SAMPLES, 32), generator=generator)
    return torch.randn((SAMPLES, 3, 32, 32) if kind == PICTURE else (64, 64), generator=generator)


def found(make: Make, kind: str, record: dict[str, Any] | None = None, **options: Any) -> list[Any]:
    torch.manual_seed(0)
    table = sppkit.measure(make(), batch(kind), **options)
    run = {"input": {"kind": "gaussian", "batch_shape": list(batch(kind).shape), "batches": 1}} | (record or {})
    return sppkit.diagnose(table, run)


HEALTHY: dict[str, tuple[Make, str]] = {
    "mlp, two default layers": (lambda: mlp(2, nn.ReLU), VECTOR),
    "mlp, normalized": (lambda: mlp(12, lambda: nn.BatchNorm1d(128), nn.ReLU), VECTOR),
    "mlp, normalized, sigmoid": (lambda: mlp(8, lambda: nn.BatchNorm1d(128), nn.Sigmoid), VECTOR),
    "mlp, selu": (
        lambda: initialized(mlp(12, nn.SELU), lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear")), VECTOR,
    ),
    "vgg, normalized": (lambda: initialized(vgg(norm=True), he), PICTURE),
    "raw pixels, normalized": (lambda: nn.Sequential(Pixels(), *initialized(vgg(norm=True), he)), PICTURE),
    "small classifier": (lambda: nn.Sequential(*mlp(3, lambda: nn.LayerNorm(128), nn.ReLU), Faint()), VECTOR),
    "gpt": (Transformer, TOKENS),
    "gpt, 24 layers": (lambda: Transformer(24), TOKENS),
    "post-activation": (lambda: resnet(3, 3, 3), PICTURE),
    "post-activation, deep": (lambda: resnet(2, 30), PICTURE),
    "dense": (densenet, PICTURE),
}  # fmt: skip


class Pixels(nn.Conv2d):
    """A first layer that sees 8-bit pixels."""

    def __init__(self) -> None:
        super().__init__(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(128 + 70 * x)


class Faint(nn.Linear):
    """A classifier that starts near zero."""

    def __init__(self) -> None:
        super().__init__(10, 10)
        nn.init.normal_(self.weight, std=1e-4)


@pytest.mark.parametrize(("make", "kind"), HEALTHY.values(), ids=HEALTHY)
def test_healthy_networks_of_ones_own_raise_no_alarm(make: Make, kind: str) -> None:
    assert [one.text for one in found(make, kind)] == []


FAULTS: dict[str, tuple[Make, str, str, str]] = {
    "mlp, five default layers": (lambda: mlp(5, nn.ReLU), VECTOR, "vanishing-variance", "warning"),
    "mlp, ten default layers": (lambda: mlp(10, nn.ReLU), VECTOR, "vanishing-variance", "warning"),
    "mlp, weights too small": (
        lambda: initialized(mlp(10, nn.Tanh), small), VECTOR, "vanishing-variance", "warning",
    ),
    "mlp, one layer is zero": (
        lambda: zeroed(initialized(mlp(6, nn.ReLU), he), 4), VECTOR, "identical-samples", "error",
    ),
    "mlp, weights too large": (
        lambda: initialized(mlp(6, nn.ReLU), lambda w: nn.init.normal_(w, std=1.0)), VECTOR,
        "exploding-variance", "error",
    ),
    "vgg without normalizers": (lambda: initialized(vgg(norm=False), he), PICTURE, "mean-shift", "remark"),
    "mlp with large biases": (biased, VECTOR, "mean-shift", "warning"),
    "zero-init residual": (lambda: resnet(3, 3, change=zero_last), PICTURE, "dead-branch", "remark"),
    "one zero branch": (one_zero, PICTURE, "dead-branch", "warning"),
    "layer scale": (lambda: Transformer(scale=1e-6), TOKENS, "dead-branch", "remark"),
    "small embeddings": (wide_transformer, TOKENS, "dominant-branch", "remark"),
    "loud transformer": (loud_transformer, TOKENS, "dominant-branch", "remark"),
    "one loud branch": (one_loud_branch, TOKENS, "dominant-branch", "warning"),
    "no normalizer": (
        lambda: initialized(nn.Sequential(nn.Linear(64, 128), *(Residual(128) for _ in range(12))), he), VECTOR,
        "exploding-variance", "warning",
    ),
    "dense, one layer is zero": (lambda: densenet(2), PICTURE, "dead-branch", "warning"),
}  # fmt: skip


def zeroed(model: nn.Module, layer: int) -> nn.Module:
    nn.init.zeros_(model[layer].weight)
    return model


@pytest.mark.parametrize(("make", "kind", "name", "severity"), FAULTS.values(), ids=FAULTS)
def test_a_fault_of_ones_own_network_is_told_alone(make: Make, kind: str, name: str, severity: str) -> None:
    assert [(one.name, one.severity) for one in found(make, kind)] == [(name, severity)]


def test_layers_are_called_layers_and_hear_of_their_own_remedies() -> None:
    [one] = found(lambda: mlp(10, nn.ReLU), VECTOR)
    assert "at layer 19" in one.fact
    assert "torch.nn.init.kaiming_normal_" in one.remedy
    assert not {"convolution", "block", "scaled-ws", "shortcut"} & set(one.text.replace(",", " ").split())


def test_new_features_are_called_so() -> None:
    [one] = found(lambda: densenet(2), PICTURE)
    assert one.fact == "The branch of block 3 has new features of a variance of 0"


@pytest.mark.parametrize(
    "record",
    [
        {"options": {"checkpoint": {"value": "x.pt", "source": "flag"}}},
        {"model": {"kw": {"pretrained": True}}},
        {"model": {"kw": {"weights": "DEFAULT"}}},
    ],
    ids=["checkpoint", "timm", "torchvision"],
)
def test_trained_weights_are_not_judged_as_initial_ones(record: dict[str, Any]) -> None:
    # A branch that stayed at zero, and a mean that training has made, are another thing than initial ones.
    [zero] = found(lambda: resnet(3, 3, change=zero_last), PICTURE, record)
    assert (zero.name, zero.severity) == ("dead-branch", "warning")
    [shifted] = found(lambda: Shifted(), TOKENS, record)
    assert (shifted.name, shifted.severity) == ("mean-shift", "remark")
    assert [one.severity for one in found(lambda: Shifted(), TOKENS) if one.name == "mean-shift"] == ["warning"]


class Shifted(Transformer):
    """A transformer in which a branch has added a large mean to a few channels."""

    def __init__(self) -> None:
        super().__init__(embedding=1.0)
        with torch.no_grad():
            self.blocks[3].branches[1][2].bias[:2] = 20.0


def test_a_deep_post_activation_network_keeps_a_mean_below_that_of_a_reflected_random_walk() -> None:
    torch.manual_seed(0)
    table = sppkit.measure(resnet(60), batch(PICTURE)).iloc[1:]
    ratio = (table["channel_squared_mean"] / table["channel_variance"]).max()
    # |B| for a Brownian motion: (2/pi) / (1 - 2/pi).
    assert 1.0 < ratio < 2 / math.pi / (1 - 2 / math.pi)


def test_a_plain_network_shifts_its_mean_as_the_correlation_between_inputs_predicts() -> None:
    torch.manual_seed(0)
    x = torch.randn(512, 64)
    table = sppkit.measure(initialized(mlp(12, nn.ReLU, width=512), he), x)
    linear = table[table["block"] % 2 == 0].iloc[1:12]
    measured = (linear["channel_squared_mean"] / linear["channel_variance"]).to_numpy()
    correlation, expected = 0.0, []
    for _ in measured:  # Cho & Saul 2009, degree 1
        angle = math.acos(correlation)
        correlation = (math.sin(angle) + (math.pi - angle) * correlation) / math.pi
        expected.append(correlation / (1 - correlation))
    # Over the seeds 0 to 19 the largest deviation is a quarter: 512 channels scatter, layer by layer, more and more.
    assert measured == pytest.approx(expected, rel=0.35)
