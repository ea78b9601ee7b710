"""What is said of a network's output, where it is true, and nothing where it is false."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import sppkit
from sppkit.cli.app import app

WIDTH, CLASSES = 32, 10
INPUTS = torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(torch.relu(self.norm(x)))


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


class Shares(nn.Module):
    """Values that sum to one, some of them negative."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (1 - x.sum(-1, keepdim=True)) / x.shape[-1]


def residual(*tail: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    body = [nn.Linear(WIDTH, WIDTH), *(Residual() for _ in range(4)), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)]
    return nn.Sequential(*body, *tail)


def layered(*tail: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES), *tail)


def found(model: nn.Module, inputs: Tensor = INPUTS) -> dict[str, sppkit.Diagnosis]:
    return {one.name: one for one in sppkit.diagnose(sppkit.measure(model, inputs, stats="spp,gradient"))}


@pytest.mark.parametrize("make", [residual, layered])
def test_probabilities_are_told_with_what_a_loss_of_logits_can_reach(make: object) -> None:
    model = make(nn.Softmax(-1))  # type: ignore[operator]
    told = found(model)["probabilities"]
    assert told.severity == "warning"
    assert "sums to 1 over 10 channels" in told.fact
    # Sought, not computed: the best that gradient descent on free logits finds.
    logits = torch.zeros(CLASSES, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(2000):
        loss = nn.functional.cross_entropy(logits.softmax(0)[None], torch.zeros(1, dtype=torch.long))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert f"stays above {loss.item():.2f}" in told.cause
    assert f"a blind guess has {math.log(CLASSES):.2f}" in told.cause
    assert sppkit.check(sppkit.measure(model, INPUTS), policy="any").passed


@pytest.mark.parametrize(
    "tail", [(), (nn.LogSoftmax(-1),), (nn.Sigmoid(),), (nn.Softmax(0),), (nn.ReLU(),), (Shares(),)]
)
@pytest.mark.parametrize("make", [residual, layered])
def test_what_is_no_probability_is_not_called_one(make: object, tail: tuple[nn.Module, ...]) -> None:
    assert "probabilities" not in found(make(*tail))  # type: ignore[operator]


def test_probabilities_of_tokens_have_their_classes_last() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embed, self.block, self.head = nn.Embedding(50, WIDTH), Residual(), nn.Linear(WIDTH, 7)

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.block(self.embed(ids))).softmax(-1)

    ids = torch.randint(50, (8, 12), generator=torch.Generator().manual_seed(0))
    assert "sums to 1 over 7 channels" in found(Tagger(), ids)["probabilities"].fact


@pytest.mark.parametrize(("factor", "severity"), [(1.0, None), (100.0, None), (1e4, "error")])
def test_a_head_behind_blocks_that_is_too_loud_fails(factor: float, severity: str | None) -> None:
    model = residual(Times(factor))
    told = found(model)
    assert ("loud-output" in told) == (severity is not None)
    assert sppkit.check(sppkit.measure(model, INPUTS), policy="any").passed == (severity is None)
    if severity is not None:
        size = model(INPUTS).detach().double().square().mean().sqrt().item()
        assert told["loud-output"].severity == severity
        assert told["loud-output"].fact.startswith(f"The values that the network returns are of size {size:.3g}")
        assert told["loud-output"].cause == "what comes after block 4 multiplies them"


def test_a_loud_stream_is_not_blamed_on_the_head() -> None:
    model = residual()[:5]
    model[0].weight.data.mul_(1e5)
    told = found(model)
    assert "what comes after" not in told["loud-output"].cause if "loud-output" in told else True


def test_a_command_sees_the_output_over_all_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = Path(__file__).read_text().replace("def test_", "def untested_")
    Path("own.py").write_text(f"{source}\n\ndef loud():\n    return residual(Times(1e4))\n")
    result = CliRunner().invoke(app, ("check", "--model", "own.py:loud", "--shape", "32", "--batch-size", "64"))
    assert result.exit_code == 1
    assert "loud-output" in result.output
    record = json.loads(next(Path("spp").glob("*.json")).read_text())
    assert record["output"]["sums_to_one"] is False
    assert len(record["output"]["channel_variance"]) == 4


@pytest.mark.parametrize("told", [None, 3, {"channel_variance": "much"}, {"channel_squared_mean": [1.0, None]}])
def test_a_record_of_a_stranger_says_nothing_of_the_output(told: object) -> None:
    table = sppkit.measure(residual(Times(1e4)), INPUTS)
    table.attrs.clear()
    assert sppkit.check(table, policy="any", record={"output": told}).passed


class Listed(nn.Module):
    """Layers in a plain list, which no optimizer of its parameters sees; a teacher in another, which is not trained."""

    def __init__(self, *, registered: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = [nn.Linear(WIDTH, WIDTH) for _ in range(4)]
        self.layers = nn.ModuleList(layers) if registered else layers
        self.teacher, self.head = [nn.Linear(WIDTH, CLASSES)], nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            told = self.teacher[0](x)
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.head(x) + told


def test_parameters_that_no_optimizer_sees_are_counted() -> None:
    model = Listed()
    told = found(model)["unregistered-parameters"]
    assert told.severity == "warning"
    held = {id(parameter) for parameter in model.parameters()}
    values = [p.numel() for layer in model.layers for p in layer.parameters() if id(p) not in held]
    assert told.fact.startswith(f"{len(values)} parameters of {sum(values):,} values are used and are none of the")


@pytest.mark.parametrize("make", [lambda: Listed(registered=True), residual, layered])
def test_parameters_that_a_network_knows_are_no_strangers(make: object) -> None:
    assert "unregistered-parameters" not in found(make())  # type: ignore[operator]


def test_a_parameter_that_is_the_input_is_no_stranger() -> None:
    prompt = nn.Parameter(INPUTS.clone())
    with sppkit.Probe(model := layered(), stats="spp,gradient") as probe:
        model(prompt).sum().backward()
    assert probe.findings is not None
    assert probe.findings.unregistered == ()


def test_a_command_tells_of_parameters_that_no_optimizer_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(Path(__file__).read_text().replace("def test_", "def untested_"))
    result = CliRunner().invoke(app, ("check", "--model", "own.py:Listed", "--shape", "32", "--batch-size", "64"))
    assert result.exit_code == 0
    assert "unregistered-parameters: 8 parameters of 4,224 values" in result.output.replace("\n", " ")


@pytest.mark.parametrize("told", [None, 3, [3], [["a"]], [["a", -1]], [[1, 2]], [["a", True]]])
def test_a_record_of_a_stranger_says_nothing_of_parameters(told: object) -> None:
    table = sppkit.measure(layered(), INPUTS)
    assert not [one for one in sppkit.diagnose(table, {"unregistered": told}) if one.name.startswith("unreg")]
