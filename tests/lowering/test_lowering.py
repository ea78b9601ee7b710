"""Any network's predicted curves against what is measured, over seeds; and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import sppkit
from lowering.networks import WIDTH, PlainConv, ResidualConv, ResidualMlp, drawn
from traces import state

Make = Callable[[], nn.Module]
SEEDS = 6
# Relative, on top of three standard errors of the mean over the seeds.
NEAR = {"channel_squared_mean": 0.1, "channel_variance": 0.03, "residual_variance": 0.1}


def over_seeds(make: Make, batch: Callable[[int], Tensor], how: Callable[..., pd.DataFrame]) -> list[pd.DataFrame]:
    tables = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        tables.append(how(make().train(), batch(seed)))
    return tables


def assert_predicted(make: Make, batch: Callable[[int], Tensor]) -> pd.DataFrame:
    measured, expected = (over_seeds(make, batch, how) for how in (sppkit.measure, sppkit.predict))
    identity = ["block", "stage", "name", "channels", "height", "width"]
    pd.testing.assert_frame_equal(expected[0][identity], measured[0][identity])
    for statistic, near in NEAR.items():
        values = np.stack([table[statistic].to_numpy(float) for table in measured])
        theory = np.mean([table[f"predicted_{statistic}"].to_numpy(float) for table in expected], axis=0)
        error = values.std(axis=0, ddof=1) / np.sqrt(SEEDS)
        assert np.array_equal(np.isnan(theory), np.isnan(values).all(axis=0)), statistic
        there = ~np.isnan(theory)
        off = np.abs(theory - values.mean(axis=0)) - 3 * error
        assert (off[there] < near * values.mean(axis=0)[there] + 1e-12).all(), (statistic, theory, values.mean(axis=0))
    return expected[0]


FEATURES, PICTURES = drawn(32, 64), drawn(8, 3, 8, 8)


@pytest.mark.parametrize(
    ("norm", "act"),
    [
        (nn.LayerNorm, nn.ReLU()),
        (nn.BatchNorm1d, nn.GELU()),
        (nn.RMSNorm, nn.SiLU()),
        (lambda _: nn.Identity(), nn.Tanh()),
        (nn.LayerNorm, nn.Hardswish()),
    ],
    ids=["layer norm relu", "batch norm gelu", "rms norm silu", "tanh", "layer norm hardswish"],
)
def test_residual_mlp(norm: Callable[[int], nn.Module], act: nn.Module) -> None:
    assert_predicted(lambda: ResidualMlp(norm, act), FEATURES)


@pytest.mark.parametrize(
    ("norm", "act"),
    [
        (nn.BatchNorm2d, nn.ReLU()),
        (lambda width: nn.GroupNorm(8, width), nn.SiLU()),
        (lambda width: nn.GroupNorm(1, width), nn.GELU()),
    ],
    ids=["batch norm relu", "group norm silu", "layer norm gelu"],
)
def test_residual_convolutions(norm: Callable[[int], nn.Module], act: nn.Module) -> None:
    assert_predicted(lambda: ResidualConv(norm, act), PICTURES)


def test_plain_convolutions_are_predicted_layer_by_layer() -> None:
    table = assert_predicted(lambda: PlainConv(nn.BatchNorm2d, nn.LeakyReLU(0.1)), PICTURES)
    assert len(table) == 11


def test_the_spread_is_that_of_seeds() -> None:
    def make() -> nn.Module:
        return ResidualMlp(nn.LayerNorm, nn.ReLU())

    measured = over_seeds(make, FEATURES, sppkit.measure)
    expected = sppkit.predict(make().train(), FEATURES(0))
    # Of six seeds a standard deviation is right to 1/sqrt(10), here three times that.
    for statistic in ("channel_squared_mean", "channel_variance"):
        found = np.std([table[statistic].to_numpy(float) for table in measured], axis=0, ddof=1)
        ratio = found.mean() / expected[f"predicted_{statistic}_spread"].mean()
        assert 0.3 < ratio < 2, statistic


def test_some_samples_stand_for_all_where_all_do_not_fit() -> None:
    batch = drawn(8, 3, 32, 32)
    torch.manual_seed(0)
    model = ResidualConv(nn.BatchNorm2d, nn.ReLU()).train()
    measured, expected = sppkit.measure(model, batch(0)), sppkit.predict(model, batch(0))
    assert expected["predicted_channel_variance"].to_numpy() == pytest.approx(measured["channel_variance"], rel=0.06)


def test_the_model_is_left_as_it_was() -> None:
    model = ResidualConv(nn.BatchNorm2d, nn.ReLU()).eval()
    before, drawn_next = state(model), torch.get_rng_state()
    sppkit.predict(model, PICTURES(0), mode="train")
    assert state(model) == before
    assert torch.equal(torch.get_rng_state(), drawn_next)


class Two(nn.Module):
    """Two blocks, the second of which does something with its input in between."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.one, self.two, self.between = nn.Linear(64, 64), nn.Linear(64, 64), between

    def forward(self, x: Tensor) -> Tensor:
        x = x + functional.relu(self.one(x))
        return x + self.between(self.two(x))


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "an operation": (lambda x: x.cumsum(1), "Two: cumsum is not known"),
    "signals that depend on each other": (
        lambda x: functional.layer_norm(x, (64,)) * x,
        "Two: mul of two signals that depend on each other",
    ),
    "a maximum of two": (lambda x: torch.maximum(x, x.flip(1)), "Two: maximum is not known"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_curve_ends_where_theory_does(name: str) -> None:
    between, why = REFUSED[name]
    table = sppkit.predict(Two(between), FEATURES(0))
    assert table["predicted_channel_variance"].notna().tolist() == [True, True, False]
    assert table["predicted_residual_variance"].notna().tolist() == [False, True, False]
    assert table.attrs["theory"] == {"predicted": True, "reason": why}


def test_nothing_predicted_is_an_error_that_names_the_operation() -> None:
    first = nn.Sequential(nn.Conv2d(3, 64, 3), nn.MaxPool2d(2))
    nn.init.orthogonal_(first[0].weight)
    with pytest.raises(sppkit.UsageError, match=r"no prediction for Sequential: 0: convolution with weights"):
        sppkit.predict(first, PICTURES(0))


def orthogonal(weight: Tensor) -> None:
    nn.init.orthogonal_(weight)


def alike(weight: Tensor) -> None:
    row = torch.randn(1, weight.shape[1])
    weight.copy_((row - row.mean()).expand_as(weight))


def positive(weight: Tensor) -> None:
    weight.uniform_(0.0, 0.1)


def pruned(weight: Tensor) -> None:
    weight[::2] = 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (orthogonal, r"no independent draws \(the products of two rows are 0.00 times as large\)"),
        (alike, "no independent draws"),
        (positive, "weights whose mean is not 0"),
        (pruned, "weights of different scales in different rows"),
    ],
)
def test_weights_that_are_no_independent_draws_are_refused(change: Callable[[Tensor], None], why: str) -> None:
    torch.manual_seed(0)
    model = ResidualMlp(nn.LayerNorm, nn.ReLU())
    with torch.no_grad():
        change(model.second[1].weight)
    table = sppkit.predict(model, FEATURES(0))
    assert table["predicted_channel_variance"].notna().tolist() == [True, True, False, False]
    assert table.attrs["theory"]["reason"].startswith("second.1: addmm with ")
    assert re.search(why, table.attrs["theory"]["reason"])


def test_weights_that_are_used_again_are_refused() -> None:
    model = ResidualMlp(nn.LayerNorm, nn.ReLU())
    model.first[1] = model.first[0]
    reason = sppkit.predict(model, FEATURES(0)).attrs["theory"]["reason"]
    assert reason == "first.0: addmm with weights that are those of an earlier layer"


def test_a_signal_that_explodes_ends_the_curve() -> None:
    model = ResidualMlp(lambda _: nn.Identity(), nn.ReLU())
    with torch.no_grad():
        model.second[1].weight *= 1e200
    table = sppkit.predict(model.double(), FEATURES(0).double())
    assert table["predicted_channel_variance"].notna().tolist() == [True, True, False, False]


def test_bad_calls_are_refused_in_a_line() -> None:
    model = ResidualMlp(nn.LayerNorm, nn.ReLU())
    with pytest.raises(
        sppkit.UsageError, match=r"predict of a network needs a batch: sppkit\.predict\(model, inputs\)"
    ):
        sppkit.predict(model)
    with pytest.raises(sppkit.UsageError, match="theory takes one batch, and the inputs are several"):
        sppkit.predict(model, [FEATURES(0), FEATURES(1)])
    with pytest.raises(sppkit.UsageError, match="inputs mean nothing for 'nf-resnet'"):
        sppkit.predict("nf-resnet", FEATURES(0))
    with pytest.raises(sppkit.UsageError, match=r"up to 4,300 fit\. Take smaller inputs"):
        sppkit.predict(ResidualConv(nn.BatchNorm2d, nn.ReLU()), torch.randn(4, 3, 64, 64))


class Merging(nn.Module):
    """Windows of a shifted map, and patches merged into channels, as Swin has them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, WIDTH, 1), nn.Linear(WIDTH, WIDTH)
        self.norm, self.merge = nn.LayerNorm(4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH, bias=False)
        self.last = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        samples, height, width, channels = x.shape
        y = torch.roll(x, (-1, -1), (1, 2)).view(samples, height // 4, 4, width // 4, 4, channels).transpose(2, 3)
        y = self.inner(functional.gelu(y.reshape(-1, 16, channels)))
        y = y.view(samples, height // 4, width // 4, 4, 4, channels).transpose(2, 3).reshape(x.shape)
        x = x + torch.roll(y, (1, 1), (1, 2))
        x = torch.cat([x[:, row::2, column::2] for row in range(2) for column in range(2)], dim=-1)
        x = self.merge(self.norm(x))
        return torch.addcmul(x, self.last(functional.silu(x)), torch.full((WIDTH,), 0.5))


def test_values_that_are_put_elsewhere_are_followed() -> None:
    assert_predicted(Merging, PICTURES)


class Beside(nn.Module):
    """Channels of two scales beside each other."""

    def __init__(self, scale: float, norm: nn.Module) -> None:
        super().__init__()
        self.one, self.two, self.scale, self.norm = nn.Linear(64, WIDTH), nn.Linear(64, WIDTH), scale, norm
        self.inner, self.last = nn.Linear(2 * WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(functional.relu(self.norm(torch.cat([self.one(x), self.scale * self.two(x)], dim=1))))
        return x + self.last(functional.relu(x))


def test_channels_beside_each_other_are_predicted_where_they_are_of_one_scale() -> None:
    assert_predicted(lambda: Beside(4.0, nn.BatchNorm1d(2 * WIDTH)), FEATURES)
    assert_predicted(lambda: Beside(1.0, nn.LayerNorm(2 * WIDTH)), FEATURES)
    with pytest.raises(sppkit.UsageError, match="inner: an activation of channels of different scales"):
        sppkit.predict(Beside(4.0, nn.LayerNorm(2 * WIDTH)), FEATURES(0))


class PostActivation(nn.Module):
    """relu(x + f(x)), several times, with a normalizer at the end of f."""

    def __init__(self, gamma: float, depth: int = 3) -> None:
        super().__init__()
        self.stem = nn.Linear(64, WIDTH)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.norms = nn.ModuleList(nn.BatchNorm1d(WIDTH) for _ in range(depth))
        for norm in self.norms:
            nn.init.constant_(norm.weight, gamma)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = functional.relu(x + norm(layer(x)))
        return x


def test_activations_of_activations_are_no_gaussian_processes() -> None:
    # relu(relu(u)) is relu(u), of which a Gaussian of its moments would lose a third of the variance.
    assert_predicted(lambda: PostActivation(0.0), FEATURES)
    table = sppkit.predict(PostActivation(1.0), FEATURES(0))
    assert table["predicted_channel_variance"].notna().tolist() == [True, True, True, False]
    assert table.attrs["theory"]["reason"].startswith("layers.2: an activation of a sum of which much is")


def test_weights_and_their_transpose_are_the_same_weights() -> None:
    class Tied(ResidualMlp):
        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for first in self.first:
                x = x + functional.linear(functional.relu(first(x)), first.weight.t())
            return x

    with pytest.raises(sppkit.UsageError, match="mm with weights that are those of an earlier layer"):
        sppkit.predict(Tied(nn.LayerNorm, nn.ReLU()), FEATURES(0))


def standardized(inputs: int) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, inputs))
    with torch.no_grad():
        rows = torch.randn(WIDTH, inputs)
        rows -= rows.mean(dim=1, keepdim=True)
        model[0].weight.copy_(rows / rows.norm(dim=1, keepdim=True))
        nn.init.zeros_(model[0].bias)
    return model


def test_standardized_weights_see_no_common_mean() -> None:
    batch = drawn(16, 4096)(0)
    table = sppkit.predict(standardized(4096), batch + 3)
    found = sppkit.measure(standardized(4096), batch + 3)
    assert table["predicted_channel_variance"][0] == pytest.approx(found["channel_variance"][0], rel=0.1)
    assert table["predicted_channel_squared_mean"][0] < 0.1  # of E x² = 10 in front of them
    with pytest.raises(sppkit.UsageError, match="0: addmm with standardized weights over 256 inputs"):
        sppkit.predict(standardized(256), drawn(16, 256)(0))


def test_named_architectures_agree_with_their_own_recursion() -> None:
    # Of small maps, so that all samples are held; the recursion's own approximations and one draw's input remain.
    model = sppkit.build_model("bn-relu-conv", stages=(1, 1), width=0.5, stem="no-pool").train()
    found = sppkit.predict(model, drawn(8, 3, 16, 16)(0))
    expected = sppkit.predict("bn-relu-conv", stages=(1, 1), width=0.5, stem="no-pool", image_size=16)
    assert list(found["name"]) == list(expected["name"])
    for statistic in ("channel_variance", "residual_variance"):
        column = f"predicted_{statistic}"
        assert found[column][1:].to_numpy(float) == pytest.approx(expected[column][1:].to_numpy(float), rel=0.03)
