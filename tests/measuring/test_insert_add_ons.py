"""Add-ons at the joins of a user's model, beside float64 statements of the network with the add-on in its code."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import sppkit
from sppkit.models.addons.crossnorm import CrossNorm, activate
from sppkit.models.addons.selfnorm import SelfNorm
from sppkit.streams import keyed_generator
from traces import state

CHANNELS = 6
Add = Callable[[Tensor, int], Tensor]


def nothing(x: Tensor, _block: int) -> Tensor:
    return x


class Block(nn.Module):
    """Post-activation, one ReLU for several places, the branch scaled: as torchvision's with a number more."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.BatchNorm2d(CHANNELS)
        self.conv2, self.bn2 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.BatchNorm2d(CHANNELS)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, residual: Add = nothing, post: Add = nothing, index: int = 0) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(post(x + 0.5 * residual(y, index), index))


class PreActivation(nn.Module):
    """The block returns the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1))

    def forward(self, x: Tensor, residual: Add = nothing, post: Add = nothing, index: int = 0) -> Tensor:
        return post(x + residual(self.conv(x), index), index)


class Encoder(nn.Module):
    """Two joins of (N, T, C) in a block, each normalized behind the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.norm1 = nn.Linear(CHANNELS, CHANNELS), nn.LayerNorm(CHANNELS)
        self.fc, self.norm2 = nn.Linear(CHANNELS, CHANNELS), nn.LayerNorm(CHANNELS)

    def forward(self, x: Tensor, residual: Add = nothing, post: Add = nothing, index: int = 0) -> Tensor:
        x = self.norm1(post(x + residual(torch.tanh_(self.mix(x)), 2 * index), 2 * index))
        return self.norm2(post(x + residual(self.fc(x), 2 * index + 1), 2 * index + 1))


class Net(nn.Module):
    """Three blocks of a kind."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(kind() for _ in range(3))

    def forward(self, x: Tensor, residual: Add = nothing, post: Add = nothing) -> Tensor:
        for index, block in enumerate(self.blocks):
            x = block(x, residual, post, index)
        return x


def images() -> Tensor:
    return torch.randn(5, CHANNELS, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def gated(x: Tensor, weight: Tensor) -> Tensor:
    """SelfNorm as released, of channels on the last axis of (N, T, C), or the second of (N, C, H, W)."""
    flat = x.transpose(1, 2) if x.ndim == 3 else x.flatten(2)
    mean, deviation = flat.mean(2), (flat.var(2, correction=1) + 1e-12).sqrt()
    z = mean * weight[:, 0] + deviation * weight[:, 1]
    gate = torch.sigmoid((z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt())
    return x * (gate[:, None] if x.ndim == 3 else gate[:, :, None, None])


CASES = {
    "post-activation": (Block, "post", images, ["blocks.{}.selfnorm"]),
    "post-activation, branch": (Block, "residual", images, ["blocks.{}.selfnorm"]),
    "pre-activation": (PreActivation, "post", images, ["blocks.{}.selfnorm"]),
    "pre-activation, branch": (PreActivation, "residual", images, ["blocks.{}.selfnorm"]),
    "tokens": (Encoder, "post", lambda: images().flatten(2).mT, ["blocks.{}.selfnorm", "blocks.{}.selfnorm2"]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_network_is_the_one_with_selfnorm_in_its_code(case: tuple) -> None:
    kind, place, make, names = case
    x, plain = make(), Net(kind).double()
    done = sppkit.insert_add_ons(plain, "selfnorm", x, place=place, copy=True, seed=4)
    expected_names = [name.format(block) for block in range(3) for name in names]
    assert [item.name for item in done.inserted] == expected_names
    weights = [
        # Uniform in ±1/√2, from the stream of the qualified name.
        torch.from_numpy(keyed_generator(4, f"{name}.g.weight").random((CHANNELS, 2), dtype="float32")).double()
        for name in expected_names
    ]
    drawn = [(2 * weight - 1) / 2**0.5 for weight in weights]
    expected = plain(x, **{place: lambda y, index: gated(y, drawn[index])})
    torch.testing.assert_close(done.model(x), expected, rtol=1e-6, atol=1e-6)  # weights are float32 numbers
    assert not any(isinstance(module, SelfNorm) for module in plain.modules())


def test_a_copy_has_add_ons_of_its_own_and_all_can_be_saved() -> None:
    x = images()
    model = sppkit.insert_add_ons(Net(Block).double(), "selfnorm", x).model
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(other(x), model(x))
        before = model(x)
        for module in other.modules():
            if isinstance(module, SelfNorm):
                nn.init.constant_(module.g.norm.bias, 9.0)  # gates of nearly 1
        torch.testing.assert_close(model(x), before)
        assert (other(x) - before).abs().max() > 0.1
    fresh = sppkit.insert_add_ons(Net(Block).double(), "selfnorm", x, seed=1).model
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh(x), model(x))
    model(x).sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if "selfnorm" in name)


def test_crossnorm_swaps_at_the_joins_in_train_mode_and_chosen_units_only() -> None:
    x, plain = images(), Net(PreActivation).double()
    done = sppkit.insert_add_ons(plain, "crossnorm", x, where=lambda name: name != "blocks.1", copy=True)
    assert [item.join for item in done.inserted] == ["blocks.0", "blocks.2"]
    assert done.kept == ("blocks.1",)
    torch.testing.assert_close(done.model.eval()(x), plain(x))
    assert sum(isinstance(module, CrossNorm) for module in done.model.modules()) == 2
    done.model.train()
    activate(done.model, 1, 1.0)
    torch.manual_seed(0)
    output = done.model(x)
    assert (output - plain(x)).abs().max() > 0.01


def test_measured_networks_have_the_gates_in_their_branches() -> None:
    x = torch.randn(16, CHANNELS, 9, 9, generator=torch.Generator().manual_seed(0))
    done = sppkit.insert_add_ons(Net(Block), "selfnorm", x, place="residual")
    heard: list[float] = []
    handles = [
        module.register_forward_hook(
            lambda *call: heard.append(float(call[2].detach().double().var((0, 2, 3), correction=0).mean()))
        )
        for module in done.model.modules()
        if isinstance(module, SelfNorm)
    ]
    done.model(x)
    for handle in handles:
        handle.remove()
    table = sppkit.measure(done.model, x)
    assert table["residual_variance"][1:].to_list() == pytest.approx(heard, rel=1e-4)


def test_nothing_is_left_behind_and_nothing_done_where_a_join_can_not_be_reached() -> None:
    class Functional(PreActivation):
        def forward(self, x: Tensor, *_: object) -> Tensor:
            return torch.relu(x + self.conv(x))

    model = Net(Functional).double()
    before, random = state(model), torch.get_rng_state()
    with pytest.raises(sppkit.UsageError, match=r"3 of 3 joins can't be reached at post, the first of them 'blocks.0'"):
        sppkit.insert_add_ons(model, "selfnorm", images())
    assert state(model) == before
    sppkit.insert_add_ons(model, "selfnorm", images(), place="residual", copy=True)
    assert state(model) == before
    assert torch.equal(torch.get_rng_state(), random)


def test_pictures_are_taken_where_no_inputs_are_given() -> None:
    model = nn.Sequential(nn.Conv2d(3, CHANNELS, 7, 32), Net(Block))
    assert len(sppkit.insert_add_ons(model, "selfnorm", place="residual").inserted) == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"add_on": "selfnrm"}, "unknown add-on 'selfnrm'; did you mean 'selfnorm'"),
        ({"place": "pre"}, "place must be residual or post, not 'pre'; pre and identity are those of --add-on"),
        ({"crop": "both"}, "--add-on-kw crop means nothing for --add-on selfnorm@post"),
        ({"inputs": []}, "there is no batch to find joins in"),
        ({"model": nn.Conv2d(CHANNELS, 2, 1).double()}, "there is no join to put an add-on at: Conv2d has no residual"),
        ({"model": Net(Encoder).double(), "inputs": images().flatten(2).mT, "add_on": "crossnorm", "crop": "both"},
         r"'blocks.0#1' is a signal of shape \(5, 49, 6\): crop needs maps"),
    ],
)  # fmt: skip
def test_refused(given: dict, message: str) -> None:
    settings = {"model": Net(PreActivation).double(), "add_on": "selfnorm", "inputs": images(), **given}
    with pytest.raises(sppkit.UsageError, match=message):
        sppkit.insert_add_ons(settings.pop("model"), settings.pop("add_on"), settings.pop("inputs"), **settings)
