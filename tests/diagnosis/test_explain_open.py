"""Causes that the numbers leave open are all named, and none is named that the numbers exclude."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from test_explain import CHANNELS, RECORD, SEEDS, base, blocks, cause, curves, set_all, set_one, weighted
from torch import nn

import sppkit
from sppkit.curves.curves import Curves
from sppkit.diagnosis.explain import explain

if TYPE_CHECKING:
    from collections.abc import Callable

    Build = Callable[[], nn.Module]

PADDING, POOLING, ATTENTION = "its padding", "its pooling", "attention's scale or mask"


def circular(model: nn.Module) -> None:
    for layer in weighted(model)[1:]:
        if isinstance(layer, nn.Conv2d):
            layer.padding_mode = "circular"
            layer._reversed_padding_repeated_twice = [1, 1, 1, 1]


def weights_of_one(factor: float) -> Callable[[nn.Module], None]:
    return lambda model: weighted(model)[4].weight.mul_(factor)


@pytest.mark.parametrize("name", ["pre-activation", "without normalizers", "plain"])
def test_other_padding_is_left_open_where_the_variance_moves_as_little_as_a_border_is_wide(name: str) -> None:
    assert PADDING in cause(name, circular)
    # Zeros around a map of 16 x 16 take less than a half of a layer's variance, whatever its kernel.
    assert PADDING not in cause(name, weights_of_one(3.0))


def test_tokens_have_no_padding_and_may_have_attention() -> None:
    told = cause("transformer", weights_of_one(1.3))
    assert ATTENTION in told
    assert PADDING not in told
    for name in ("pre-activation", "plain"):
        assert ATTENTION not in cause(name, weights_of_one(1.2))


def measured(build: Build, shape: tuple[int, ...]) -> Curves:
    tables = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = build()
        torch.manual_seed(seed)
        tables.append(sppkit.measure(model, torch.randn(8, *shape), seed=seed))
    return Curves(pd.concat(tables, ignore_index=True), RECORD)


def pooled(pool: nn.Module, gain: float = 1.0) -> Build:
    def build() -> nn.Module:
        layers: list[nn.Module] = [nn.Conv2d(3, CHANNELS, 3, padding=1), nn.ReLU(), pool]
        last = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        last.weight.data.mul_(gain)
        return nn.Sequential(*layers, last, nn.Flatten(), nn.Linear(64 * CHANNELS, 10))

    return build


def test_a_pool_is_left_open_only_where_a_layer_shrinks_the_map() -> None:
    old = measured(pooled(nn.MaxPool2d(2)), (3, 16, 16))
    assert POOLING in explain(measured(pooled(nn.AvgPool2d(2)), (3, 16, 16)), old, 2, "channel_variance")
    told = explain(measured(pooled(nn.MaxPool2d(2), gain=2.0), (3, 16, 16)), old, 3, "channel_variance")
    assert told.startswith("the variance is ×4")
    assert POOLING not in told


class Averaging(nn.Module):
    """A branch that has a mean and hardly any variance, as attention at initialization."""

    def __init__(self, factor: float, offset: float) -> None:
        super().__init__()
        self.layer = nn.Linear(CHANNELS, CHANNELS)
        nn.init.constant_(self.layer.bias, 0.5)
        self.factor, self.offset = factor, offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch: torch.Tensor = self.layer(x.mean((0, 1), keepdim=True) + 0.05 * x)
        return x + (self.factor * branch + self.offset)


def averaging(factor: float = 1.0, offset: float = 0.0) -> Build:
    return lambda: nn.Sequential(
        nn.Linear(3, CHANNELS), *(Averaging(factor if index == 2 else 1.0, offset) for index in range(4))
    )


def test_a_branch_that_has_a_mean_may_be_added_with_another_factor() -> None:
    old = measured(averaging(), (16, 3))
    told = explain(measured(averaging(factor=1.5), (16, 3)), old, 3, "mean_share")
    assert "the branch's variance is ×2.25" in told
    assert told.endswith("or its scale")
    # A constant moves no variance to the last digit, and a factor would.
    told = explain(measured(averaging(offset=0.3), (16, 3)), old, 1, "mean_share")
    assert "the mean shifts" in told
    assert "no variance with it" in told
    assert "alpha" not in told


def small_stem(alpha: float) -> Callable[[nn.Module], Any]:
    def change(model: nn.Module) -> None:
        weighted(model)[0].weight.mul_(0.5)
        set_all("alpha", alpha)(model)

    return change


def test_a_sum_that_has_the_branchs_variance_by_chance_has_its_skip() -> None:
    old = curves("post-activation", small_stem(1.0))
    variance, branch = (old.seed_mean(name)[1] for name in ("channel_variance", "residual_variance"))
    alpha = float(np.sqrt(1 - (variance - branch) / branch))
    new = curves("post-activation", small_stem(alpha))
    assert abs(np.log(new.seed_mean("channel_variance")[1] / branch)) < 0.03
    told = explain(new, old, 1, "channel_variance")
    assert told
    assert "only the branch is left" not in told
    assert "only the branch is left" in cause("post-activation", set_one("skip", 0.0))


@pytest.mark.parametrize("name", ["pre-activation", "without normalizers"])
def test_little_is_not_nothing(name: str) -> None:
    told = cause(name, set_one("alpha", 0.1 * blocks(base_model(name))[2].alpha))
    assert "too small or 0" in told
    assert "is not added" not in told
    assert "the branch is not added" in cause(name, set_one("alpha", 0.0))


def test_a_skip_that_is_scaled_down_is_not_said_to_be_missing() -> None:
    told = cause("pre-activation", set_one("skip", 0.1))
    assert "the skip is missing or scaled" in told
    assert "the skip is missing" in cause("pre-activation", set_one("skip", 0.0))
    assert "or scaled" not in cause("pre-activation", set_one("skip", 0.0))


def base_model(name: str) -> nn.Module:
    from test_explain import NETWORKS

    return NETWORKS[name]()


def test_a_first_row_that_is_nothing_is_dead() -> None:
    told = cause("pre-activation", lambda model: [weighted(model)[0].weight.zero_(), weighted(model)[0].bias.zero_()])
    assert told.startswith("the signal is dead from the first row on")


@pytest.mark.parametrize(("name", "place"), [("pre-activation", "stem"), ("plain", "first layer")])
def test_a_first_row_of_another_scale_names_its_weights(name: str, place: str) -> None:
    told = cause(name, lambda model: weighted(model)[0].weight.mul_(2.0))
    assert told.startswith(f"the input or the {place} has another scale (variance ×4")
    assert f"weights or a gain in the {place}" in told
    told = cause(name, lambda model: weighted(model)[0].bias.add_(0.5))
    assert "changed, and the mean shifts, from " in told
    assert "a bias" in told
    assert "has another scale" not in told


def test_what_is_small_where_a_change_begins_is_explained_there() -> None:
    old = base("pre-activation")
    told = explain(curves("pre-activation", set_all("alpha", 1.01)), old, 1, "channel_variance")
    assert "of the branch's variance is added" in told
    # Two digits further on, nothing is known of a cause: other rows are another before.
    assert explain(curves("pre-activation", set_all("alpha", 1.001)), old, 3, "channel_variance") == ""


def test_a_branch_whose_mean_shifts_is_not_only_scaled() -> None:
    def change(model: nn.Module) -> Any:
        for block in blocks(model):
            block.conv1.bias.add_(0.4)
            block.conv1.weight.mul_(1.05)

    assert "the mean shifts, from " in cause("pre-activation", change)
