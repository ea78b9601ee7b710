"""Norms of the parameters of a block, of their gradients and updates, against plain recomputation in float64."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import sppkit

WIDTH = 16
STATS = ("spp", "training")
NAMES = ["weight_norm", "weight_gradient_norm", "update_to_weight"]
# What stands between the rows, by hand: 0 is the stem, then two joins for each block.
BLOCKS = {
    0: ["0."],
    1: ["1.norm.", "1.first."],
    2: ["1.second."],
    3: ["2.norm.", "2.first."],
    4: ["2.second."],
}


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.first, self.second = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.first(self.norm(x))
        return x + torch.relu(self.second(x))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, WIDTH), Block(), Block(), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3))


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(32, 8, generator=generator), torch.randint(3, (32,), generator=generator)) for _ in range(count)
    ]


def norm(tensors: list[Tensor]) -> float:
    return float(np.sqrt(sum((each.detach().double().numpy() ** 2).sum() for each in tensors)))


def by_hand(model: nn.Module, before: dict[str, Tensor]) -> list[list[float]]:
    found = []
    for prefixes in BLOCKS.values():
        own = {name: each for name, each in model.named_parameters() if name.startswith(tuple(prefixes))}
        old = [before[name] for name in own]
        moved = [before[name].double() - each.double() for name, each in own.items()]
        found.append([norm(old), norm([each.grad for each in own.values()]), norm(moved) / norm(old)])
    return found


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_norms_are_those_of_a_plain_recomputation(kind: type[torch.optim.Optimizer], accumulated: int) -> None:
    model = network()
    optimizer = kind(model.parameters(), lr=0.05)  # type: ignore[call-arg]
    data, expected = batches(8), []
    with sppkit.Monitor(model, every=2, stats=STATS) as monitor:
        for start in range(0, 8, accumulated):
            before = {name: each.detach().clone() for name, each in model.named_parameters()}
            optimizer.zero_grad()
            for x, labels in data[start : start + accumulated]:
                functional.cross_entropy(model(x), labels).backward()
            optimizer.step()
            monitor.step()
            expected.append(by_hand(model, before))
    table = monitor.table()
    steps = table["step"].unique().tolist()
    wanted = np.array([expected[step] for step in steps]).reshape(-1, 3)
    # Gradients and weights are float32: 6e-8 each, and an update of a hundredth of a weight has lost two digits.
    np.testing.assert_allclose(table[NAMES].to_numpy(), wanted, rtol=2e-5)


def test_a_training_with_them_is_bit_for_bit_the_one_without() -> None:
    plain, watched = network(), network()
    for model, stats in ((plain, None), (watched, STATS)):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        monitor = sppkit.Monitor(model, stats=stats)
        with monitor:
            for x, labels in batches(5):
                optimizer.zero_grad()
                functional.cross_entropy(model(x), labels).backward()
                optimizer.step()
                monitor.step()
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))
    assert not monitor._parameters._before  # nothing is kept between steps


def test_a_network_that_declares_its_blocks_has_their_parameters() -> None:
    model = sppkit.build_model("nf-resnet", stages=(1, 1), width=0.125)
    twin = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with sppkit.Monitor(model, stats="weight_norm") as monitor:
        model(torch.ones(2, 3, 32, 32)).mean().backward()
        optimizer.step()
        monitor.step()
    table = monitor.table()
    expected = [
        norm([each for name, each in twin.named_parameters() if name.startswith(f"{row}.")]) for row in table["name"]
    ]
    assert table["weight_norm"].tolist() == pytest.approx(expected, rel=1e-6)
    assert "update_to_weight" not in table


def test_gradients_that_are_gone_leave_their_column_empty() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with sppkit.Monitor(model, stats="training") as monitor:
        x, labels = batches(1)[0]
        functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        monitor.step()
    table = monitor.table()
    assert table["weight_gradient_norm"].isna().all()
    assert (table["update_to_weight"] > 0).all()
    assert "channel_variance" in table  # a probe measures something always


def test_half_precision_does_not_overflow() -> None:
    from sppkit.stats.norms import norm as measured

    large = torch.full((4096,), 3e4, dtype=torch.float16)
    assert measured([large, large]).item() == pytest.approx(3e4 * 8192**0.5, rel=1e-5)  # 4096 squares in float32


def test_what_is_none_of_a_step_is_refused_with_what_is() -> None:
    with pytest.raises(sppkit.UsageError, match=r"unknown statistic 'weight_nrm'; did you mean 'weight_norm'\?"):
        sppkit.Monitor(network(), stats="weight_nrm")
    with pytest.raises(sppkit.UsageError, match="unknown statistic 'weight_norm'"):
        sppkit.measure(network(), batches(1)[0][0], stats="weight_norm")
