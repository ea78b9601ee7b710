"""What was found in a model is taken for granted the next time, and seen through where it no longer holds."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import sppkit
from sppkit.config.resolve import resolve_config
from sppkit.measuring import remember
from sppkit.measuring.run import run


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(8, 8), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale(self.layer(x).relu())


class Net(nn.Module):
    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block() for _ in range(blocks)])

    def forward(self, x: Tensor) -> Tensor:
        Net.run = getattr(Net, "run", 0) + 1
        for block in self.blocks:
            x = block(x)
        return x


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    Net.run = 0
    return Net()


def batch(seed: int = 1) -> Tensor:
    return torch.randn(4, 8, generator=torch.Generator().manual_seed(seed))


class Halves(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x


def halve(net: Net) -> None:
    net.blocks[1].scale = Halves()


def shorten(net: Net) -> None:
    del net.blocks[0]


def widen(net: Net) -> None:
    net.blocks[2].layer = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))


@pytest.mark.parametrize("stats", ["spp", "spp,gradient"])
def test_a_second_measurement_runs_the_model_once(net: Net, stats: str) -> None:
    statistics = stats.split(",")
    first = sppkit.measure(net, batch(), stats=statistics)
    assert Net.run == 2  # looked at, and measured
    second = sppkit.measure(net, batch(), stats=statistics)
    assert Net.run == 3
    pd.testing.assert_frame_equal(second, first)


@pytest.mark.parametrize("change", [halve, shorten, widen], ids=lambda change: change.__name__)
@pytest.mark.parametrize("batches", [1, 3])
def test_a_model_that_was_changed_is_looked_at_again(net: Net, change: Callable[[Net], None], batches: int) -> None:
    sppkit.measure(net, batch())
    change(net)
    inputs = [batch(seed) for seed in range(batches)]
    expected = sppkit.measure(copy.deepcopy(net), list(inputs))
    pd.testing.assert_frame_equal(sppkit.measure(net, iter(inputs)), expected)
    Net.run = 0
    pd.testing.assert_frame_equal(sppkit.measure(net, list(inputs)), expected)
    assert Net.run == batches  # remembered anew


def test_corrections_and_warm_up_ask_for_another_look(net: Net) -> None:
    sppkit.measure(net, batch())
    kept = sppkit.measure(net, batch(), sites={"join": [{"name": "blocks.1", "keep": False}]})
    assert kept["name"].tolist() == ["input", "blocks.0", "blocks.2"]
    assert len(sppkit.measure(net, batch(), warmup=batch())) == 4
    assert len(sppkit.find_joins(net, batch()).joins) == 3


def test_what_is_remembered_goes_with_the_model() -> None:
    gc.collect()
    net = Net()
    before = len(remember._found)
    sppkit.measure(net, batch())
    assert len(remember._found) == before + 1
    del net
    gc.collect()
    assert len(remember._found) == before


def test_a_model_that_can_not_be_looked_up_is_measured(net: Net) -> None:
    class ByValue(Net):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, ByValue)

        __hash__ = None  # type: ignore[assignment]

        def modules(self) -> Iterator[nn.Module]:  # torch's own walk puts modules into a set
            yield from (self, *(module for block in self.blocks for module in block.modules()))

        def named_modules(self, *_: object, **__: object) -> Iterator[tuple[str, nn.Module]]:
            yield "", self
            for index, block in enumerate(self.blocks):
                yield from block.named_modules(prefix=f"blocks.{index}")

    model = ByValue()
    assert sppkit.measure(model, batch()).equals(sppkit.measure(model, batch()))


CODE = """import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return x + self.layer(x).relu()


class Net(nn.Module):
    def __init__(self, blocks=3):
        super().__init__()
        self.blocks = nn.Sequential(*[Block() for _ in range(blocks)])

    def forward(self, x):
        with open("passes", "a") as file:
            file.write("x")
        return self.blocks(x)


def drawn():
    return Net(int(torch.randint(2, 5, ())))
"""


@pytest.fixture
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(CODE, encoding="utf-8")


@pytest.mark.usefixtures("_folder")
def test_further_seeds_are_measured_at_once() -> None:
    options = {"model": "nets.py:Net", "shape": (8,)}
    table = run(resolve_config({**options, "seeds": 4})).table
    assert len(Path("passes").read_text(encoding="utf-8")) == 1 + 4
    one_by_one = [run(resolve_config({**options, "seed": seed})).table for seed in range(4)]
    pd.testing.assert_frame_equal(table, pd.concat(one_by_one, ignore_index=True))


@pytest.mark.usefixtures("_folder")
def test_seeds_whose_networks_differ_are_each_looked_at() -> None:
    options = {"model": "nets.py:drawn", "shape": (8,)}
    table = run(resolve_config({**options, "seeds": 4})).table
    one_by_one = [run(resolve_config({**options, "seed": seed})).table for seed in range(4)]
    assert len({len(alone) for alone in one_by_one}) > 1
    pd.testing.assert_frame_equal(table, pd.concat(one_by_one, ignore_index=True))
