"""Remedies tried on a network of the user's own: its verdict with each, and none that does not help."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import sppkit
from signal_tables import table
from sppkit.cli.app import app
from sppkit.comparison.own_remedies import OWN_REMEDIES, OwnOutcome, best_own, own_outcome, ranked_own
from sppkit.measuring.run import Run

RUNNER = CliRunner()
CODE = """import torch
from torch import nn


def deep():
    layers = [layer for _ in range(30) for layer in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(64, 10))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(64, 64), nn.Linear(64, 64)
        for layer in (self.up, self.down):
            nn.init.kaiming_normal_(layer.weight)

    def forward(self, x):
        return x + self.down(torch.relu(self.up(torch.relu(x))))


def residual():
    return nn.Sequential(nn.Linear(64, 64), *(Block() for _ in range(30)), nn.Linear(64, 10))


def healthy():
    return nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = [torch.zeros(64, 64) for _ in range(3)]
        self.head = nn.Identity()

    def forward(self, x):
        for weight in self.weights:
            x = self.head(x @ weight)
        return x
"""


@pytest.fixture(autouse=True)
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)


def suggest(name: str, *more: str, code: int = 0) -> str:
    arguments = ["suggest", "--model", f"nets.py:{name}", "--shape", "64", "--batch-size", "64", *more]
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code == code, done.output
    return done.output


def test_each_remedy_has_a_verdict_of_its_own_and_the_best_one_is_named() -> None:
    out = suggest("deep")
    lines = {line.partition("  ")[0]: line for line in out.splitlines()}
    assert " fails " in lines["as it is"]
    assert "identical-samples" in lines["as it is"]
    assert lines["weights of variance 2/fan_in"].rstrip().endswith("passes")
    assert "Best: weights of variance 2/fan_in. With it the network passes." in out
    assert "kaiming_normal_" in out
    assert "branches" not in out  # a network without joins has none
    assert not list(Path().glob("spp/*"))


def test_what_does_not_help_is_not_proposed() -> None:
    out = suggest("residual")
    lines = {line.partition("  ")[0]: line for line in out.splitlines()}
    assert " fails " in lines["as it is"]
    assert " fails " in lines["weights of variance 2/fan_in"]
    assert lines["branches over the root of their number"].rstrip().endswith("passes")
    assert "Best: weights of variance 2/fan_in" not in out
    assert "None of these remedies helps." in suggest("Frozen")


def test_a_healthy_network_is_left_alone() -> None:
    assert "There is nothing to mend." in suggest("healthy")


@pytest.mark.parametrize("more", [("--stats", "all"), ("--out", "x"), ("--format", "pdf")])
def test_what_means_nothing_is_refused(more: tuple[str, str]) -> None:
    assert f"{more[0]} means nothing for suggest with --model" in suggest("deep", *more, code=2)


def test_a_checkpoint_is_not_drawn_anew() -> None:
    torch.save(nn.Linear(2, 2).state_dict(), "w.pt")
    assert "those of --checkpoint would be lost" in suggest("deep", "--checkpoint", "w.pt", code=2)


def of(*severities: str) -> OwnOutcome:
    run = Run(table(), {})
    found = tuple(type("Found", (), {"severity": severity})() for severity in severities)
    return OwnOutcome(run, OWN_REMEDIES[0], found)


def test_verdicts_rank_before_counts() -> None:
    fails, warned, twice, passes = of("error"), of("warning"), of("warning", "warning"), of()
    assert ranked_own([fails, twice, warned, passes]) == [passes, warned, twice, fails]
    as_it_is = OwnOutcome(fails.run, None, fails.found)
    assert best_own([as_it_is, fails]) is None
    assert best_own([as_it_is, fails, twice]) is twice
    assert own_outcome(Run(table(), {})).verdict == "passes"


def test_remedies_do_what_they_say() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 3, 16, 16)
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3))
    findings = sppkit.find_joins(model, x)
    by_name = {remedy.name: remedy for remedy in OWN_REMEDIES}
    assert by_name["weights of variance 1/fan_in"].apply(model, findings) == 2
    assert float(model[2].weight.detach().var()) == pytest.approx(1 / 576, rel=0.05)  # 36,864 draws: 0.7 %
    assert not model[2].bias.any()
    assert by_name["branches that start at 0"].apply(model, findings) == 0
    assert by_name["scaled weight standardization"].apply(model, findings) == 2
    weight = model[2].weight.detach()
    assert float(weight.mean((1, 2, 3)).abs().max()) < 1e-6
    gain = 2 / (1 - 1 / torch.pi)
    assert weight.square().sum((1, 2, 3)) == pytest.approx(torch.full((64,), gain).numpy(), rel=1e-4)
