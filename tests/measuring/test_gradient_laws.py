"""Gradients of networks whose growth per layer or block is known in closed form (docs/statistics-gradient.md)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import sppkit

STATS = ("spp", "gradient")
# What BatchNorm, ReLU and He weights multiply a gradient by: ReLU halves it, He weights double it, and the batch-norm
# behind divides by the variance of what a ReLU has left of a standard normal, (1 - 1/pi) / 2, times the weights' 2.
R = math.pi / (math.pi - 1)


def images(samples: int = 16, size: int = 16) -> torch.Tensor:
    return torch.randn(samples, 3, size, size, generator=torch.Generator().manual_seed(0))


def plain(layers: int, width: int, *, normalized: bool) -> nn.Sequential:
    """Linear layers and ReLUs, He-initialized, whose rows are the linear layers and what is between them."""
    parts: list[nn.Module] = []
    for _ in range(layers):
        linear = nn.Linear(width, width, bias=False)
        nn.init.normal_(linear.weight, std=math.sqrt(2 / width))
        parts += [linear, *([nn.BatchNorm1d(width)] if normalized else []), nn.ReLU()]
    return nn.Sequential(*parts)


@pytest.mark.parametrize(("normalized", "factor"), [(False, 1.0), (True, R)], ids=["He", "BatchNorm"])
def test_a_plain_network_multiplies_its_gradient_by_one_factor_per_layer(normalized: bool, factor: float) -> None:
    torch.manual_seed(0)
    layers, width = 12, 256
    x = torch.randn(256, width)
    table = sppkit.measure(plain(layers, width, normalized=normalized), x, stats=STATS, mode="train")
    found = table.loc[table["name"].isin([str(index * (2 + normalized)) for index in range(layers)])]
    gradient = found["gradient_second_moment"].to_numpy()
    assert len(gradient) == layers
    # Without the first layer, which reads an input that no ReLU has passed. Sums over 256 units scatter by about
    # sqrt(5 / 256) = 14 % in each layer, and the mean of ten by 4 %.
    per_layer = (gradient[1] / gradient[-1]) ** (1 / (layers - 2))
    assert per_layer == pytest.approx(factor, rel=0.06)


def blocks_of_stages(table: pd.DataFrame) -> pd.DataFrame:
    """The blocks whose skip is an identity, the variance before each, and what multiplies its gradient."""
    gradient, variance = table["gradient_second_moment"].to_numpy(), table["channel_variance"].to_numpy()
    stage = table["stage"].to_numpy()
    inside = np.flatnonzero(stage[1:] == stage[:-1]) + 1
    share = table["branch_gradient_share"].to_numpy()[inside]
    return pd.DataFrame({
        "variance": variance[inside - 1], "factor": gradient[inside - 1] / gradient[inside], "share": share
    })  # fmt: skip


# The factor less 1, times the variance in front of the block: alpha squared and one r for each convolution whose
# normalizer follows a ReLU; He weights behind the last one are not normalized away.
LAWS = {
    "bn-relu-conv": R**2,
    "relu-bn-conv": R**3,
    "nf-resnet": 0.2**2 * R**3,
}


@pytest.mark.parametrize(("arch", "law"), LAWS.items())
def test_a_block_adds_what_its_branch_brings_back(arch: str, law: float) -> None:
    model = sppkit.build_model(arch, stages=(6, 6), width=0.5, stem="cifar", padding="circular")
    found = blocks_of_stages(sppkit.measure(model, images(), stats=STATS))
    assert len(found) == 10
    expected = law / found["variance"]
    # Behind 128 channels and more, one block is off by a few percent, and their mean by less.
    assert found["share"].to_numpy() == pytest.approx(expected.to_numpy(), rel=0.15)
    assert (found["share"] / expected).mean() == pytest.approx(1, abs=0.05)
    # Skip and branch are hardly correlated: the factor is 1 and the share.
    assert found["factor"].to_numpy() == pytest.approx(1 + found["share"].to_numpy(), rel=0.05)


def test_without_a_normalizer_the_gradient_doubles_from_block_to_block() -> None:
    model = sppkit.build_model("he-resnet", stages=(8,), width=1, stem="cifar", padding="circular")
    found = blocks_of_stages(sppkit.measure(model, images(8, 8), stats=STATS))
    assert np.log2(found["factor"]).mean() == pytest.approx(1, abs=0.1)


def test_the_last_row_gets_what_was_sent() -> None:
    model = sppkit.build_model("nf-resnet", stages=(1, 1), width=0.25)
    table = sppkit.measure(model, images(4, 32), stats=STATS)
    values = 4 * int(np.prod(table.loc[2, ["channels", "height", "width"]]))
    # The mean of n squares of N(0, 1).
    assert table["gradient_second_moment"][2] == pytest.approx(1, abs=4 * math.sqrt(2 / values))


def test_a_transition_resets_the_gradient() -> None:
    model = sppkit.build_model("bn-relu-conv", stages=(6, 6), width=0.5, stem="cifar", padding="circular")
    table = sppkit.measure(model, images(), stats=STATS)
    gradient, variance = table["gradient_second_moment"], table["channel_variance"]
    # Twice the channels on a quarter of the positions; the shortcut reads what is normalized, too.
    assert gradient[6] / gradient[7] == pytest.approx(2 / 4 * (1 + R**2) / variance[6], rel=0.15)


class Faulty(nn.Module):
    """Three pre-normalized blocks, one of them with a fault that only a backward pass shows."""

    def __init__(self, fault: str = "none") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norms = nn.ModuleList([nn.LayerNorm(64) for _ in range(3)])
        self.layers = nn.ModuleList([nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)) for _ in range(3)])
        self.fault = fault

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for index, (norm, layer) in enumerate(zip(self.norms, self.layers, strict=True)):
            branch = norm(x)
            if index == 1 and self.fault == "detached branch":
                branch = branch.detach()
            if index == 1 and self.fault == "no_grad":
                with torch.no_grad():
                    branch = layer(branch)
            else:
                branch = layer(branch)
            x = (x.detach() if index == 1 and self.fault == "detached skip" else x) + branch
        return x


def measured(fault: str) -> pd.DataFrame:
    return sppkit.measure(Faulty(fault), torch.randn(32, 64, generator=torch.Generator().manual_seed(0)), stats=STATS)


@pytest.mark.parametrize("fault", ["detached branch", "no_grad"])
def test_a_branch_that_nothing_comes_back_through(fault: str) -> None:
    healthy, faulty = measured("none"), measured(fault)
    forward = ["channel_squared_mean", "channel_variance", "residual_variance"]
    pd.testing.assert_frame_equal(healthy[forward], faulty[forward])
    assert faulty["branch_gradient_share"][2] == 0
    assert healthy["branch_gradient_share"][2] > 0.01
    assert faulty["gradient_second_moment"][1] == faulty["gradient_second_moment"][2]
    assert (faulty["nonfinite"] == 0).all()


def test_a_skip_that_nothing_comes_back_through() -> None:
    faulty = measured("detached skip")
    assert math.isnan(faulty["branch_gradient_share"][2])
    assert faulty["gradient_second_moment"][1] < 0.5 * measured("none")["gradient_second_moment"][1]


def test_a_value_that_is_cut_off_has_the_gradient_zero() -> None:
    class Cut(Faulty):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for index, (norm, layer) in enumerate(zip(self.norms, self.layers, strict=True)):
                x = x + layer(norm(x))
                x = x.detach() * 1 if index == 0 else x
            return x

    table = sppkit.measure(Cut(), torch.randn(32, 64), stats=STATS)
    assert (table["gradient_second_moment"] > 0).tolist() == [False, False, True, True]
    assert table["branch_gradient_share"].isna().tolist() == [True, True, True, False]
    assert (table["nonfinite"] == 0).all()


def test_batches_are_merged() -> None:
    model, x = Faulty().double(), torch.randn(8, 64, dtype=torch.float64)
    whole = [sppkit.measure(model, [x[:3], x[3:]], stats=STATS, seed=3)]
    assert whole[0]["gradient_second_moment"].notna().all()
    # The last row is the noise of both batches, each of its own stream.
    from test_gradient import cotangent

    sent = torch.cat([cotangent(torch.Size((3, 64)), 0, 3), cotangent(torch.Size((5, 64)), 1, 3)])
    assert whole[0]["gradient_second_moment"].iloc[-1] == pytest.approx(sent.square().mean().item(), rel=1e-12)
    assert whole[0]["gradient_squared_mean"].iloc[-1] == pytest.approx(sent.mean(0).square().mean().item(), rel=1e-12)


class FeedForward(nn.Module):
    """Two linear layers with weights of variance gain²/fan_in."""

    def __init__(self, width: int, hidden: int, activation: nn.Module, gain: float = 1.0) -> None:
        super().__init__()
        layers = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False)
        for layer in layers:
            nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.in_features))
        self.layers = nn.Sequential(layers[0], activation, layers[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class UniformAttention(nn.Module):
    """Attention whose scores are all alike, as at W_Q = 0: values are averaged over tokens."""

    def __init__(self, width: int, gain: float = 1.0) -> None:
        super().__init__()
        self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(2))
        for layer in (self.value, self.out):
            nn.init.normal_(layer.weight, std=gain / math.sqrt(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.value(x).mean(dim=1, keepdim=True).expand_as(x))


class Transformer(nn.Module):
    """Sublayers in turn, normalized before them, or behind the sum with the skip times alpha."""

    def __init__(self, sublayers: list[nn.Module], width: int, *, first: bool, alpha: float = 1.0) -> None:
        super().__init__()
        self.sublayers, self.first, self.alpha = nn.ModuleList(sublayers), first, alpha
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in sublayers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for norm, sublayer in zip(self.norms, self.sublayers, strict=True):
            x = x + sublayer(norm(x)) if self.first else norm(self.alpha * x + sublayer(x))
        return x


WIDTH, LAYERS = 256, 12


def tokens(samples: int = 16, length: int = 16) -> torch.Tensor:
    return torch.randn(samples, length, WIDTH, generator=torch.Generator().manual_seed(0))


def transformer(*, first: bool, alpha: float = 1.0, gain: float = 1.0) -> pd.DataFrame:
    torch.manual_seed(0)
    sublayers = [
        part
        for _ in range(LAYERS)
        for part in (UniformAttention(WIDTH, gain), FeedForward(WIDTH, WIDTH, nn.ReLU(), gain))
    ]
    table = sppkit.measure(Transformer(sublayers, WIDTH, first=first, alpha=alpha), tokens(), stats=STATS)
    return table.assign(second=table["channel_variance"] + table["channel_squared_mean"])


@pytest.mark.parametrize(("activation", "exponent"), [(nn.ReLU(), 1.0), (nn.GELU(), 1.072)], ids=["ReLU", "GELU"])
def test_a_pre_norm_gradient_is_a_power_of_the_second_moment(activation: nn.Module, exponent: float) -> None:
    """Each branch adds v to the stream's D and multiplies G by 1 + f/D, so G ~ D^(-f/v), f/v = q E phi'²/E phi²."""
    torch.manual_seed(0)
    branches: list[nn.Module] = [FeedForward(WIDTH, 4 * WIDTH, activation) for _ in range(48)]
    table = sppkit.measure(Transformer(branches, WIDTH, first=True), tokens(), stats=STATS)
    second, gradient = table["channel_variance"] + table["channel_squared_mean"], table["gradient_second_moment"]
    slope = np.polyfit(np.log(second), np.log(gradient), 1)[0]
    # Over a factor of 20 in D; each of 48 branches multiplies G by a number that is off by 1 % or so.
    assert second.iloc[-1] / second.iloc[0] > 10
    assert -slope == pytest.approx(exponent, abs=0.06)


def test_xiong_second_moments() -> None:
    """Xiong et al. 2020 (arXiv:2002.04745): 3/2 before a post-norm; 1 + l/2 to 1 + 3l/2 in a pre-norm stream."""
    after = transformer(first=False)
    feed_forward = after.iloc[2::2]["second"]
    assert len(feed_forward) == LAYERS
    # 256 channels scatter by sqrt(2/256) = 9 % in one row, and by a third of it in their mean.
    assert feed_forward.to_numpy() == pytest.approx(np.full(LAYERS, 1.5), rel=0.09)
    assert feed_forward.mean() == pytest.approx(1.5, rel=0.03)
    before = transformer(first=True).iloc[2::2]["second"].to_numpy()
    layer = np.arange(1, LAYERS + 1)
    assert (before > (1 + layer / 2) * 0.95).all()
    assert (before < (1 + 3 * layer / 2) * 1.05).all()


def test_a_post_norm_gradient_vanishes_and_a_deep_norm_one_stays() -> None:
    """Wang et al. 2022 (arXiv:2203.00555), with alpha = (2L)^(1/4) and beta = (8L)^(-1/4) of a decoder."""
    alpha, beta = (2 * LAYERS) ** 0.25, (8 * LAYERS) ** -0.25
    deep, plain = transformer(first=False, alpha=alpha, gain=beta), transformer(first=False)
    # Values, outputs and both layers of a feed-forward have the gain beta: E z² = alpha² + beta⁴/2 behind a ReLU.
    expected = alpha**2 + beta**4 / 2
    assert deep.iloc[2::2]["second"].to_numpy() == pytest.approx(np.full(LAYERS, expected), rel=0.01)
    kept = [
        table["gradient_second_moment"].iloc[1] / table["gradient_second_moment"].iloc[-1] for table in (deep, plain)
    ]
    # In front of a norm G is divided by what it divides: all rows here are in front of one.
    assert kept[0] == pytest.approx(1, abs=0.1)
    assert kept[1] < 0.3
