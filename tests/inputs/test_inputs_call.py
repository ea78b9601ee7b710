"""Batches that are more than one tensor: said by a Call in Python, by a function of the user's on the command line."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from typer.testing import CliRunner

import sppkit
from sppkit.cli.app import app
from sppkit.config.options import RunConfig
from sppkit.measuring.own_input import load_function

FILE = """
import numpy as np
import torch
import sppkit
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x, scale=1.0):
        x = self.first(x)
        return x + scale * torch.relu(self.second(x))

    def training_step(self, batch, number):
        return self(batch[0]).sum()

def call(batch_size, index, seed):
    assert index in (0, 1) and seed in (0, 1)
    return sppkit.Call((torch.randn(batch_size, 8), np.random.rand()), index, method="training_step")

def mapping():
    return {"x": torch.ones(4, 8) + torch.randn(4, 8), "scale": 0.5}

def asks(width):
    return torch.ones(2, width)

def number():
    return 3

def fails():
    raise KeyError("labels")
"""


class Step(nn.Module):
    """A residual network whose training step calls it, as a Lightning module's does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.head(x + torch.relu(self.second(x)))

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        x, labels = batch
        return functional.cross_entropy(self(x), labels)


class Nameless(nn.Module):
    """All that it does happens in a method that is not ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(8, 8)

    def run(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.layer(x))


class TwoWays(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(4, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor, y: Tensor, *, method: float = 1.0) -> Tensor:
        z = self.a(x) + self.b(y)
        return z + method * torch.relu(self.c(z))


class Pictures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, pictures: list[Tensor]) -> dict[str, Tensor]:
        x = self.first(torch.stack([picture[:, :8, :8] for picture in pictures]))
        return {"features": x + torch.relu(self.second(x))}


def run(*arguments: str, code: int = 0) -> str:
    """Run a command and return what it writes to stderr."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result.stderr


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def variance(values: Tensor) -> float:
    return float(values.detach().double().flatten(2).movedim(1, 0).flatten(1).var(1, unbiased=False).mean())


def test_a_training_step_shows_what_its_forward_does() -> None:
    model, x, labels = Step(), noise(32, 8), torch.arange(32) % 3
    before = dict(vars(model))
    plain = sppkit.measure(model, x)
    assert sppkit.measure(model, sppkit.Call((x, labels), 0, method="training_step")).equals(plain)
    gradients = sppkit.measure(model, sppkit.Call((x, labels), 0, method="training_step"), stats="spp,gradient")
    assert gradients["gradient_second_moment"].notna().all()
    assert vars(model) == before


def test_a_network_without_a_forward_is_measured_in_its_method() -> None:
    model, x = Nameless(), noise(16, 8)
    table = sppkit.measure(model, sppkit.Call(x, method="run"))
    assert table["residual_variance"].iloc[1] == pytest.approx(variance(torch.relu(model.layer(x))[:, :, None]), 1e-5)
    assert "forward" not in vars(model)


def test_positional_arguments_and_one_named_method() -> None:
    model, x, y = TwoWays(), noise(64, 8), noise(64, 4)
    table = sppkit.measure(model, sppkit.Call(x, y))
    branch = torch.relu(model.c(model.a(x) + model.b(y)))[:, :, None]
    assert table["residual_variance"].iloc[1] == pytest.approx(variance(branch), 1e-5)
    assert sppkit.measure(model, {"x": x, "y": y, "method": 1.0}).equals(table)


def test_a_list_of_pictures_is_one_batch() -> None:
    model, pictures = Pictures(), [noise(3, 12, 9), noise(3, 8, 8)]
    table = sppkit.measure(model, sppkit.Call(pictures))
    x = model.first(torch.stack([picture[:, :8, :8] for picture in pictures]))
    assert table["residual_variance"].iloc[1] == pytest.approx(variance(torch.relu(model.second(x))), 1e-5)
    assert len(sppkit.find_joins(model, sppkit.Call(pictures)).joins) == 1


def test_calls_are_batches_of_one_table() -> None:
    model, x, y = TwoWays(), noise(64, 8), noise(64, 4)
    whole = sppkit.measure(model, sppkit.Call(x, y))
    parts = sppkit.measure(model, [sppkit.Call(a, b) for a, b in zip(x.split(16), y.split(16), strict=True)])
    assert parts["channel_variance"].tolist() == pytest.approx(whole["channel_variance"].tolist(), rel=1e-5)


def test_what_the_model_writes_into_its_arguments_is_put_back() -> None:
    class Writes(Pictures):
        def forward(self, pictures: list[Tensor]) -> dict[str, Tensor]:
            pictures[0].zero_()
            return super().forward(pictures)

    pictures = [noise(3, 8, 8), noise(3, 8, 8)]
    sppkit.measure(Writes(), sppkit.Call(pictures))
    assert torch.equal(pictures[0], noise(3, 8, 8))


def test_a_method_that_raises_leaves_forward_as_it_was() -> None:
    model = Step()
    with pytest.raises(sppkit.MeasurementError, match="the forward pass failed before the first block"):
        sppkit.measure(model, sppkit.Call(noise(4, 8), method="training_step"))
    assert "forward" not in vars(model)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: sppkit.Call(), r"a Call needs the arguments that the network is called with: Call\(x\)"),
        (lambda: sppkit.Call(1, method="a b"), "method must be the name of a method of the network, not 'a b'"),
        (
            lambda: sppkit.measure(Step(), sppkit.Call(noise(4, 8), method="train_step")),
            "unknown method of Step: 'train_step'; did you mean 'training_step'",
        ),
        (
            lambda: sppkit.measure(Step(), 3),
            "inputs must be a tensor, a mapping, a tuple, an sppkit.Call, or an iterable of these, not int",
        ),
    ],
)
def test_what_can_not_be_called_is_said(make: object, text: str) -> None:
    with pytest.raises(sppkit.UsageError, match=text):
        make()  # type: ignore[operator]


def test_a_function_makes_the_batches_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(FILE)
    state = torch.get_rng_state()
    command = (
        "plot",
        "--model",
        "own.py:Net",
        "--batches",
        "2",
        "--seeds",
        "2",
        "--batch-size",
        "16",
        "--format",
        "png",
    )
    run(*command, "--input", "own.py:call", "--name", "a")
    run(*command, "--input", "own.py:call", "--name", "b")
    assert torch.equal(torch.get_rng_state(), state)
    assert Path("spp/a.csv").read_bytes() == Path("spp/b.csv").read_bytes()
    described = json.loads(Path("spp/a.json").read_text())["input"]
    assert {key: described[key] for key in ("kind", "source", "batch_shape", "samples_used")} == {
        "kind": "function", "source": "own.py:call", "batch_shape": [16, 8], "samples_used": 32,
    }  # fmt: skip
    run("plot", "--model", "own.py:Net", "--input", "own.py:mapping", "--dtype", "float64", "--name", "c")
    assert json.loads(Path("spp/c.json").read_text())["dtype"] == "float64"


REFUSED = {
    "asks": "--input own.py:asks asks for width; by these names it can have seed, index, batch_size.",
    "number": "--input own.py:number returned a value of type int; it must return one batch",
    "fails": "--input own.py:fails failed: KeyError: 'labels' (",
    "numbr": "unknown factory in own.py: 'numbr'; did you mean 'number'?",
}


@pytest.mark.parametrize(("name", "text"), REFUSED.items())
def test_a_function_that_makes_no_batch_is_told_so(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(FILE)
    told = run("plot", "--model", "own.py:Net", "--input", f"own.py:{name}", code=2)
    assert text in told
    assert not Path("spp").exists()


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        (("--shape", "8"), "--shape means nothing beside --input own.py:mapping."),
        (("--vocab", "8"), "--vocab means nothing beside --input own.py:mapping."),
    ],
)
def test_what_means_nothing_beside_a_function(
    extra: tuple[str, ...], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(FILE)
    assert text in run("plot", "--model", "own.py:Net", "--input", "own.py:mapping", *extra, code=2)


def test_a_named_architecture_takes_no_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = run("plot", "--arch", "nf-resnet", "--depth", "26", "--input", "own.py:mapping", code=2)
    assert "a function of your own makes batches for a network of your own.\nIt goes with --model" in told


def test_every_batch_and_every_seed_has_random_numbers_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(FILE)
    config = RunConfig(input="own.py:mapping", batches=2)
    drawn = [batch["x"] for seed in (0, 1) for batch in load_function(config, seed).batches()]
    again = [batch["x"] for seed in (0, 1) for batch in load_function(config, seed).batches()]
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))
    assert len({float(each.sum()) for each in drawn}) == 4
