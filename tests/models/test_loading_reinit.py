"""--reinit keyed: the network's own initialization, from streams that a refactoring does not move."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from networks import Net
from sppkit.errors import UsageError
from sppkit.measuring.forward.random_state import seed_torch
from sppkit.measuring.reinitialize import make_keyed
from sppkit.streams import keyed_generator

if TYPE_CHECKING:
    from collections.abc import Callable


def keyed(make: Callable[[], nn.Module], seed: int = 0) -> dict[str, torch.Tensor]:
    seed_torch(seed)
    model, _ = make_keyed(make, seed)
    return dict(model.state_dict())


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in a if name in b and torch.equal(a[name], b[name])}


def layer() -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 16)


class Kinds(nn.Module):
    """Every way to draw a weight that is common, each under a name of its own; ``order`` shuffles the construction."""

    def __init__(self, order: tuple[str, ...] = (), extra: bool = False) -> None:
        super().__init__()
        makers: dict[str, Callable[[], nn.Module | nn.Parameter]] = {
            "default": lambda: nn.Conv2d(3, 8, 3),
            "embedding": lambda: nn.Embedding(20, 8),
            "attention": lambda: nn.MultiheadAttention(8, 2),
            "recurrent": lambda: nn.LSTM(8, 8),
            "norm": lambda: nn.BatchNorm1d(8),
            "token": lambda: nn.Parameter(torch.randn(1, 5, 8) * 0.02),
            "uniform": lambda: nn.Parameter(torch.rand(40)),
            "truncated": self._truncated,
            "orthogonal": self._orthogonal,
            "slices": self._slices,
            "pieces": lambda: nn.Parameter(torch.stack([torch.randn(6) for _ in range(3)])),
            "half": lambda: nn.Linear(8, 8).bfloat16(),
            "clones": lambda: nn.TransformerEncoder(layer(), 2, enable_nested_tensor=False),
        }
        if extra:
            nn.Linear(7, 7)  # drawn and thrown away
            self.first = nn.Linear(3, 3)
        for name in order or makers:
            setattr(self, name, makers[name]())

    @staticmethod
    def _truncated() -> nn.Module:
        layer = nn.Linear(30, 40)
        nn.init.trunc_normal_(layer.weight, std=0.02)
        return layer

    @staticmethod
    def _orthogonal() -> nn.Module:
        layer = nn.Linear(12, 12, bias=False)
        nn.init.orthogonal_(layer.weight, gain=3)
        return layer

    @staticmethod
    def _slices() -> nn.Module:
        layer = nn.Linear(8, 24)
        for part in layer.weight.data.chunk(3):
            nn.init.normal_(part, std=0.5)
        return layer


def test_the_order_of_construction_does_not_matter() -> None:
    plain = keyed(Kinds)
    order = tuple(reversed(tuple(dict.fromkeys(name.partition(".")[0] for name in plain))))
    for other in (keyed(lambda: Kinds(order)), keyed(lambda: Kinds(extra=True))):
        assert same(plain, other) == plain.keys()
    # Without keys it does.
    torch.manual_seed(0)
    before = Kinds().state_dict()
    torch.manual_seed(0)
    after = Kinds(extra=True).state_dict()
    constants = {name for name in before if name in after and before[name].float().std(correction=0) == 0}
    assert same(before, after) == constants


def test_seeds_and_names_give_other_numbers() -> None:
    plain, other = keyed(Kinds), keyed(Kinds, seed=1)
    random_names = {name for name, value in plain.items() if value.float().std(correction=0) > 0}
    assert same(plain, other) == plain.keys() - random_names
    net = keyed(lambda: Net(depth=2))
    first, second = net["blocks.0.branch.2.weight"], net["blocks.1.branch.2.weight"]
    assert abs(float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])) < 5 / math.sqrt(576)
    assert same(net, keyed(lambda: Net(depth=3))) >= {name for name in net if name.startswith("blocks.0")}


def test_parts_of_a_parameter_are_drawn_apart() -> None:
    weights = keyed(Kinds)
    for whole in (weights["slices.weight"].chunk(3), weights["pieces"].chunk(3)):
        assert not torch.equal(whole[0], whole[1])
        assert not torch.equal(whole[1], whole[2])


# The standard deviation of n numbers is off by std/sqrt(2n) for normal ones, and less for the others; five of that.
DISTRIBUTIONS: dict[str, tuple[float, float]] = {
    "default.weight": (0.0, 1 / math.sqrt(3 * 27)),  # uniform with bound 1/sqrt(fan_in)
    "embedding.weight": (0.0, 1.0),
    "attention.in_proj_weight": (0.0, math.sqrt(2 / (8 + 24))),  # xavier_uniform_
    "token": (0.0, 0.02),
    "uniform": (0.5, 1 / math.sqrt(12)),
    "truncated.weight": (0.0, 0.02),
    "slices.weight": (0.0, 0.5),
}


@pytest.mark.parametrize(("name", "moments"), DISTRIBUTIONS.items(), ids=DISTRIBUTIONS)
def test_distributions_stay_the_networks_own(name: str, moments: tuple[float, float]) -> None:
    values = keyed(Kinds)[name].double()
    mean, std = moments
    assert values.mean().item() == pytest.approx(mean, abs=5 * std / math.sqrt(values.numel()))
    assert values.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * values.numel()))


def test_structure_that_an_initialization_makes_stays() -> None:
    weights = keyed(Kinds)
    gram = weights["orthogonal.weight"] @ weights["orthogonal.weight"].T
    # Rounding of twelve products in float32, around 9.
    assert torch.allclose(gram, 9 * torch.eye(12), atol=1e-5)
    assert weights["truncated.weight"].abs().max() <= 2
    assert weights["half.weight"].dtype is torch.bfloat16
    # torch's encoder copies its first layer: its own initialization makes them alike.
    assert torch.equal(weights["clones.layers.0.linear1.weight"], weights["clones.layers.1.linear1.weight"])
    plain = dict(Kinds().state_dict())
    for name in ("norm.weight", "norm.running_var", "attention.in_proj_bias", "attention.out_proj.bias"):
        assert torch.equal(weights[name], plain[name])


def test_a_second_initialization_replaces_the_first() -> None:
    def once() -> nn.Module:
        layer = nn.utils.skip_init(nn.Linear, 6, 6)
        nn.init.zeros_(layer.bias)
        nn.init.normal_(layer.weight)
        return layer

    def twice() -> nn.Module:
        layer = nn.Linear(6, 6)
        nn.init.zeros_(layer.bias)
        nn.init.normal_(layer.weight)
        return layer

    assert same(keyed(once), keyed(twice)) == {"weight", "bias"}


def test_the_numbers_are_torchs_from_a_keyed_seed() -> None:
    found = keyed(lambda: nn.Embedding(4, 3))["weight"]
    generator = torch.Generator().manual_seed(int(keyed_generator(0, "weight").integers(2**63)))
    assert torch.equal(found, torch.empty(4, 3).normal_(generator=generator))


def test_a_generator_of_its_own_is_seeded_as_well() -> None:
    def make(first: int) -> nn.Module:
        generator = torch.Generator().manual_seed(5)
        model = nn.Module()
        torch.empty(first).normal_(generator=generator)
        model.weight = nn.Parameter(torch.empty(9).normal_(generator=generator))
        return model

    assert same(keyed(lambda: make(1)), keyed(lambda: make(100))) == {"weight"}


@pytest.mark.parametrize("draw", [np.random.rand, random.random])
def test_foreign_random_numbers_are_reported(draw: Callable[[], float]) -> None:
    def make() -> nn.Module:
        draw()
        return nn.Linear(2, 2)

    _, notes = make_keyed(make, 0)
    assert notes == [
        "the network also draws from NumPy's or Python's random numbers while it is made; --reinit keyed keys torch's "
        "draws only, so that those still depend on their order."
    ]
    assert make_keyed(lambda: nn.Linear(2, 2), 0)[1] == []


def test_a_factory_that_changes_its_mind_is_refused() -> None:
    made: list[Any] = []

    def make() -> nn.Module:
        made.append(nn.Linear(2, 2))
        return nn.Sequential(*[nn.Linear(2, 2) for _ in made])

    with pytest.raises(UsageError, match=r"Sequential makes 4 draws the first time and 6 the second\.\nLeave --reinit"):
        make_keyed(make, 0)
