"""Causes: small networks as users write them, changed in one way; the cause that is given is the one, or none is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

import sppkit
from signal_tables import NF, record, table
from sppkit.curves.curves import Curves
from sppkit.diagnosis.explain import explain

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Change = Callable[[nn.Module], Any]

SEEDS, CHANNELS = (0, 1), 32
RECORD = {"input": {"kind": "gaussian", "batch_shape": [8, 3, 16, 16], "batches": 1}}


class Activation(nn.Module):
    def __init__(self, name: str = "relu", offset: float = 0.0) -> None:
        super().__init__()
        self.name, self.offset = name, offset

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = getattr(torch, self.name, getattr(functional, self.name, None))(x) + self.offset
        return activated


class Block(nn.Module):
    """Two convolutions; before the activation a normalizer or none, after the addition an activation or none."""

    def __init__(self, *, norm: bool, alpha: float = 1.0, post: bool = False) -> None:
        super().__init__()
        self.norm0, self.norm1 = (nn.BatchNorm2d(CHANNELS) if norm else nn.Identity() for _ in range(2))
        self.conv0, self.conv1 = (nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(2))
        self.activation, self.post = Activation(), post
        self.alpha, self.skip = alpha, 1.0

    def forward(self, x: Tensor) -> Tensor:
        if self.post:
            y = self.norm1(self.conv1(self.activation(self.norm0(self.conv0(x)))))
            return self.activation(self.skip * x + self.alpha * y)
        y = self.conv1(self.activation(self.norm1(self.conv0(self.activation(self.norm0(x))))))
        return self.skip * x + self.alpha * y


class Layer(nn.Module):
    """A transformer's layer without its attention: a GPT's MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.activation = nn.LayerNorm(CHANNELS), Activation("gelu")
        self.conv0, self.conv1 = nn.Linear(CHANNELS, 4 * CHANNELS), nn.Linear(4 * CHANNELS, CHANNELS)
        self.alpha, self.skip = 1.0, 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.skip * x + self.alpha * self.conv1(self.activation(self.conv0(self.norm1(x))))


def residual(**options: Any) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, CHANNELS, 3, padding=1), *(Block(**options) for _ in range(5)))


def plain(name: str = "relu") -> nn.Module:
    convolutions = [nn.Conv2d(CHANNELS if index else 3, CHANNELS, 3, padding=1) for index in range(6)]
    layers = [layer for convolution in convolutions for layer in (convolution, Activation(name))]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 10))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "pre-activation": lambda: residual(norm=True),
    "post-activation": lambda: residual(norm=True, post=True),
    "without normalizers": lambda: residual(norm=False, alpha=0.3),
    "transformer": lambda: nn.Sequential(nn.Linear(3, CHANNELS), *(Layer() for _ in range(5))),
    "plain": plain,
    "plain, tanh": lambda: plain("tanh"),
}
_CURVES: dict[str, Curves] = {}


def curves(name: str, change: Change | None = None, *, shift: float = 0.0, scale: float = 1.0) -> Curves:
    tables = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = NETWORKS[name]()
        for module in weighted(model):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
        with torch.no_grad():
            if change is not None:
                change(model)
        x = torch.randn((64, 16, 3) if name == "transformer" else (8, 3, 16, 16))
        tables.append(sppkit.measure(model, scale * x + shift, seed=seed))
    return Curves(pd.concat(tables, ignore_index=True), RECORD)


def base(name: str) -> Curves:
    if name not in _CURVES:
        _CURVES[name] = curves(name)
    return _CURVES[name]


def weighted(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]


def blocks(model: nn.Module) -> list[Any]:
    return [module for module in model if isinstance(module, (Block, Layer))]


def cause(name: str, change: Change | None = None, **fed: float) -> str:
    """The cause at the first row where anything is another by more than 3 %."""
    new, old = curves(name, change, **fed), base(name)
    second = old.seed_mean("channel_squared_mean") + old.seed_mean("channel_variance")
    apart = [np.abs(new.seed_mean(column) - old.seed_mean(column)) for column in COLUMNS]
    away = [
        apart[0] > 0.02 * second,
        apart[1] > 0.03 * old.seed_mean(COLUMNS[1]),
        apart[2] > 0.03 * old.seed_mean(COLUMNS[2]),
    ]
    row = int(np.argmax(np.any(away, axis=0)))
    assert np.any(away, axis=0)[row]
    return explain(new, old, row, COLUMNS[0])


COLUMNS = ("channel_squared_mean", "channel_variance", "residual_variance")


def every_bias(value: float) -> Change:
    return lambda model: [module.bias.add_(value) for module in weighted(model)[1:]]


def one_bias(model: nn.Module) -> None:
    (weighted(model)[6] if not blocks(model) else blocks(model)[2].conv1).bias.add_(0.8)


def norm_biases(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            module.bias.add_(0.5)


def offset(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, Activation):
            module.offset = 0.3


def weights_mean(model: nn.Module) -> None:
    for module in weighted(model)[1:]:
        module.weight.add_(0.2 * module.weight.std())


def activation(name: str) -> Change:
    def change(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, Activation):
                module.name = name

    return change


RESIDUAL = ("pre-activation", "post-activation", "without normalizers", "transformer")
# The change, and the networks in which a mean follows from it.
MEANS: dict[str, tuple[Change, tuple[str, ...]]] = {
    "biases": (every_bias(0.3), ("pre-activation", "without normalizers", "transformer", "plain", "plain, tanh")),
    "one bias": (one_bias, ("pre-activation", "without normalizers", "transformer")),
    "normalizers' biases": (norm_biases, ("pre-activation", "post-activation", "transformer")),
    "activation + 0.3": (offset, tuple(NETWORKS)),
    "weights' mean": (weights_mean, ("pre-activation", "without normalizers", "plain")),
}
MEAN_CASES = [(name, fault) for fault, (_, names) in MEANS.items() for name in names]


@pytest.mark.parametrize(("name", "fault"), MEAN_CASES)
def test_a_mean_shift_is_called_a_mean_shift(name: str, fault: str) -> None:
    told = cause(name, MEANS[fault][0])
    # A bias before an activation may move a branch's variance and no mean to speak of.
    assert "the mean shifts, from " in told or fault == "biases"
    assert "a bias" in told
    assert not any(word in told for word in ("alpha", "skip gain", "sqrt(2)"))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("fed", [{"shift": 0.5}, {"scale": 3.0}], ids=["mean", "scale"])
def test_what_differs_from_the_first_row_on_is_the_input_or_the_stem(name: str, fed: dict[str, float]) -> None:
    told = cause(name, **fed)
    assert told.startswith(("the input or the stem ", "the input or the first layer "))
    assert ("another scale" in told) == ("scale" in fed)


@pytest.mark.parametrize(("name", "other"), [("pre-activation", "gelu"), ("post-activation", "gelu"),
                                             ("without normalizers", "gelu"), ("transformer", "relu"),
                                             ("plain", "gelu"), ("plain, tanh", "relu")])  # fmt: skip
def test_another_activation_is_among_the_causes(name: str, other: str) -> None:
    told = cause(name, activation(other))
    assert "activation is another" in told
    assert not any(word in told for word in ("alpha", "sqrt(2)", "skip"))


def set_all(attribute: str, factor: float) -> Change:
    def change(model: nn.Module) -> None:
        for block in blocks(model):
            setattr(block, attribute, factor * getattr(block, attribute))

    return change


def set_one(attribute: str, value: float) -> Change:
    return lambda model: setattr(blocks(model)[2], attribute, value)


ADDING = ("pre-activation", "without normalizers", "transformer")


@pytest.mark.parametrize("name", ADDING)
def test_alpha_is_named_where_the_sum_takes_another_share_of_the_branch(name: str) -> None:
    told = cause(name, set_all("alpha", 1.5))
    assert "a factor before the addition (alpha) is too large" in told
    assert "of the branch's variance is added" in told
    assert name == "transformer" or ", in every block: " in told
    assert "too small (scaled twice), or stochastic depth" in cause(name, set_all("alpha", 0.5))


@pytest.mark.parametrize("name", ADDING)
def test_a_skip_is_named_where_the_sum_keeps_another_share_of_it(name: str) -> None:
    told = cause(name, set_one("skip", 1.4))
    # LayerNorm hands on its input, and so a branch that goes along with it, or against it.
    assert (
        "of the skip's variance is kept" if name == "transformer" else "×1.96 of the skip's variance is kept"
    ) in told
    assert "the skip is missing" not in told
    assert "the skip is missing" in cause(name, set_one("skip", 0.0))


def test_a_skip_that_is_missing_before_a_relu() -> None:
    assert (
        cause("post-activation", set_one("skip", 0.0))
        == "the skip is missing: of branch and shortcut only the branch is left"
    )
    assert "missing" not in cause("post-activation", set_one("skip", 1.4)).partition("the shortcut")[0]


@pytest.mark.parametrize("name", ADDING)
def test_a_factor_is_named_only_where_it_is_that_factor(name: str) -> None:
    def scaled(factor: float) -> str:
        return cause(name, lambda model: blocks(model)[2].conv1.weight.mul_(factor))

    assert "a factor 2: weights, a gain or a normalizer's weight scaled by sqrt(2)" in scaled(2**0.5)
    assert "sqrt(2)" not in scaled(1.5)
    assert "the branch's variance is ×2.25 of what it should be" in scaled(1.5)
    assert "the scale of its weights" in scaled(1.5)
    assert all("the mean shifts" not in scaled(factor) for factor in (1.5, 2**0.5))
    assert scaled(0.0).startswith("the branch is dead")
    assert "dead" not in scaled(0.01)


@pytest.mark.parametrize("factor", [1.5, 2**0.5])
def test_a_layers_weights_in_a_plain_network(factor: float) -> None:
    told = cause("plain", lambda model: weighted(model)[3].weight.mul_(factor))
    assert told.startswith(f"the variance is ×{factor**2:.3g}, from here on in every layer: ")
    assert told.endswith("the scale of its weights or gain is another")


@pytest.mark.parametrize("name", ["pre-activation", "post-activation", "transformer"])
def test_a_missing_normalizer_is_among_the_causes(name: str) -> None:
    told = cause(name, lambda model: setattr(blocks(model)[2], "norm1", nn.Identity()))
    assert "normalizer is missing" in told


def test_nothing_is_said_where_nothing_is_another_or_nothing_is_expected() -> None:
    same = base("pre-activation")
    assert explain(same, same, 2, "channel_variance") == ""
    assert explain(same, None, 2, "channel_variance") == ""
    assert explain(same, same, 0, "gradient_second_moment") == ""


def test_other_seeds_are_not_taken_for_the_same_weights() -> None:
    # A branch of ×1.9 with a mean that seeds may have moved: scale and mean are both left open.
    old = base("pre-activation")
    frame = old.table.assign(seed=old.table["seed"] + 10)
    chosen = frame["block"] == 3
    frame.loc[chosen, ["residual_variance", "channel_variance"]] *= 1.9
    frame.loc[chosen, "channel_squared_mean"] *= 2.4
    told = explain(Curves(frame, RECORD), old, 3, "residual_variance")
    assert "which seeds alone may do" in told
    assert "a bias is another" in told
    assert told.endswith("or its scale")


@pytest.mark.parametrize(("start", "said"), [(4.4, True), (3.0, False)])
def test_a_reset_is_missing_only_where_the_sum_goes_on(start: float, said: bool) -> None:
    run = record(NF | {"stages": [3, 2], "padding": "circular", "stem": "no-pool"}, 1.0) | {"arch": "nf-resnet"}
    frame = table(((1.4, 2.4, 3.4), (start, start + 1)), 0.0, 1.0, stem=1.0, size=32)
    told = explain(Curves(frame, run), None, 4, "channel_variance")
    assert ("the variance does not reset" in told) == said


def test_a_lost_signal_is_explained_by_what_was_lost() -> None:
    frame = table(((1e6, 1e7), (1e8, float("nan"))), 0.0, None, lost=4)
    told = explain(Curves(frame, record(NF, dtype="float16")), None, 4, "nonfinite")
    assert told.startswith("the values overflow: float16 ends at 6.55e+04")
