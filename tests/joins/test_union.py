"""Passes that take different ways: rows are the union, each of the passes that had it."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import sppkit
from sppkit.cli.app import app
from sppkit.curves.curves import Curves

WIDTH, LAYERS = 6, 5


class Drops(nn.Module):
    """Training drops each layer with probability 0.4, all of them in the forward pass of one module."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Linear(WIDTH, WIDTH)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))

    def kept(self) -> list[int]:
        return [index for index in range(LAYERS) if not self.training or torch.rand(()) >= 0.4]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for index in self.kept():
            x = x + torch.relu(self.layers[index](x))
        return x


class DropsModules(Drops):
    """The same, each layer a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(Residual() for _ in range(LAYERS))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for index in self.kept():
            x = self.layers[index](x)
        return x


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.layer(x))


class Remembers(nn.Module):
    """From the second pass on it does something more with what it kept of the pass before."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.kept is not None:
            x = torch.tanh(x + self.kept)
        self.kept = x.detach()
        return x + torch.relu(self.second(x))


class Reuses(nn.Module):
    """Layers without modules of their own, of which training drops some: nothing tells them apart."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Linear(WIDTH, WIDTH)
        self.weight = nn.Parameter(torch.randn(LAYERS, WIDTH, WIDTH) / WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for index in range(LAYERS):
            if torch.rand(()) >= 0.4:
                x = x + torch.relu(x @ self.weight[index])
        return x


def batches(count: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(16, WIDTH, generator=generator) for _ in range(count)]


def by_hand(model: Drops) -> dict[int, list[Tensor]]:
    """Return each layer's branches, pass by pass, in float64: the draws are those of seed 0."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    model = model.double().train()
    found: dict[int, list[Tensor]] = {}
    for x in batches():
        x = model.stem(x.double())
        for index in model.kept():
            layer = model.layers[index]
            branch = torch.relu((layer.layer if isinstance(layer, Residual) else layer)(x)).detach()
            found.setdefault(index, []).append(branch)
            x = x + branch
    torch.set_rng_state(state)
    return found


@pytest.mark.parametrize("kind", [Drops, DropsModules])
def test_rows_are_those_of_every_layer_that_ran(kind: type[Drops]) -> None:
    expected = by_hand(kind())
    assert {len(branches) for branches in expected.values()} > {1} or len(expected) == LAYERS
    table = sppkit.measure(kind(), batches(), mode="train").iloc[1:]
    assert table["passes"].tolist() == [len(expected[index]) for index in sorted(expected)]
    variances = [torch.cat(expected[index]).var(0, unbiased=False).mean().item() for index in sorted(expected)]
    assert table["residual_variance"].tolist() == pytest.approx(variances, rel=1e-5)  # float32
    names = [f"layers.{index}" for index in sorted(expected)] if kind is DropsModules else None
    assert names is None or table["name"].tolist() == names


@pytest.mark.parametrize("kind", [Drops, DropsModules])
def test_gradients_are_of_the_same_passes(kind: type[Drops]) -> None:
    plain = sppkit.measure(kind(), batches(), mode="train")
    table = sppkit.measure(kind(), batches(), mode="train", stats="spp,gradient")
    assert table["passes"].equals(plain["passes"])
    assert table["gradient_second_moment"].notna().all()
    assert table["residual_variance"].tolist()[1:] == pytest.approx(plain["residual_variance"].tolist()[1:], rel=1e-6)


def test_a_network_that_keeps_something_has_its_rows() -> None:
    model, twin = Remembers(), Remembers().double()
    table = sppkit.measure(model, batches())
    assert "passes" not in table  # every pass has them all
    assert model.kept is None
    branches = []
    for x in batches():
        out = twin(x.double())
        branches.append(torch.relu(twin.second(twin.kept)).detach())
        assert out.shape == (16, WIDTH)
    expected = torch.cat(branches).var(0, unbiased=False).mean().item()
    assert table["residual_variance"].iloc[1] == pytest.approx(expected, rel=1e-5)


def test_nothing_is_left_behind() -> None:
    model = Drops()
    torch.manual_seed(7)
    states = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    sppkit.measure(model, batches(), mode="train")
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert random.getstate() == states[2]
    assert not model._forward_hooks
    assert all(parameter.grad is None for parameter in model.parameters())


def test_layers_that_nothing_tells_apart_are_refused() -> None:
    with pytest.raises(sppkit.MeasurementError, match=r"of the model itself can't be told apart.*\nGive each"):
        sppkit.measure(Reuses(), batches(), mode="train")


def test_batches_that_are_gone_are_asked_for_in_a_list() -> None:
    def generate() -> Iterator[Tensor]:
        yield from batches()

    with pytest.raises(sppkit.MeasurementError, match=r"took another way than the first.*\nGive sppkit\.measure all"):
        sppkit.measure(Drops(), generate(), mode="train")


def test_a_command_measures_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(Path(__file__).read_text())
    command = ("plot", "--model", "own.py:DropsModules", "--batches", "6", "--batch-size", "16", "--shape", "6")
    result = CliRunner().invoke(app, (*command, "--name", "run"))
    assert result.exit_code == 0, result.output
    table = sppkit.read_csv("spp/run.csv")
    assert table["passes"].iloc[0] == 6
    assert set(table["passes"]) > {6}
    again = CliRunner().invoke(app, ("check", "spp/run.csv"))
    assert again.exit_code in {0, 1}, again.output


def test_the_number_of_passes_is_no_statistic() -> None:
    table = sppkit.measure(Drops(), batches(), mode="train")
    assert "passes" in table
    assert "passes" not in Curves(table, {}).statistics
    assert all(finding.statistic != "passes" for finding in sppkit.check(table, policy="any", baseline=table).findings)
