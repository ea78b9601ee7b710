"""What comes after the last row: a last activation, a final normalizer, a head."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sppkit.cli.app import app

RUNNER = CliRunner()
CODE = """import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.layer(torch.relu(self.norm(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks = nn.Linear(16, 32), nn.Sequential(*[Block(32) for _ in range(3)])
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)
        self.adjust()

    def adjust(self):
        pass

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.blocks(self.stem(x)))))
"""
NET = ("--model", "net.py:Net", "--shape", "16", "--batch-size", "16", "--seeds", "2")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    Path("net.py").write_text(CODE, encoding="utf-8")


def run(*arguments: str) -> tuple[int, str]:
    result = RUNNER.invoke(app, list(arguments))
    return result.exit_code, result.stdout + result.stderr


def accepted() -> None:
    assert run("check", *NET)[0] == 0
    assert run("bless", "spp/net-Net.csv", "--reason", "first")[0] == 0


FAULTS = {
    "last activation": ("torch.relu(self.norm(self", "0.3 + torch.relu(self.norm(self"),
    "no last activation": ("torch.relu(self.norm(self.blocks(self.stem(x))))", "self.norm(self.blocks(self.stem(x)))"),
    "no final normalizer": ("self.norm(self.blocks(self.stem(x)))", "self.blocks(self.stem(x))"),
    "bias of the head": ("        pass", "        nn.init.constant_(self.head.bias, 0.5)"),
    "a layer more": ("nn.Linear(32, 10)\n", "nn.Sequential(nn.Linear(32, 10), nn.Linear(10, 10))\n"),
    "scale of the head": ("        pass", "        self.head.weight.data.mul_(1.3)"),
}


@pytest.mark.parametrize(("old", "new"), FAULTS.values(), ids=FAULTS)
def test_a_fault_after_the_last_row_fails(old: str, new: str) -> None:
    accepted()
    assert old in CODE
    Path("net.py").write_text(CODE.replace(old, new), encoding="utf-8")
    code, out = run("check", *NET)
    assert code == 1
    assert "block 4 (output)" in out
    assert "what comes after blocks.2 changed" in " ".join(out.split())
    _, out = run("diff", ".sppkit/baselines/net-Net.json", "spp/net-Net.csv")
    assert "what comes after blocks.2 changed" in " ".join(out.split())


RETURNED = "return self.head(torch.relu(self.norm(self.blocks(self.stem(x)))))"
HARMLESS = {
    "the same": ("        pass", "        return None"),
    "in a mapping": (RETURNED, RETURNED.replace("return ", "return dict(scores=") + ")"),
    # The head is drawn later: other weights of the same distribution.
    "a head drawn anew": ("        pass", "        torch.rand(3); self.head.reset_parameters()"),
    # Its variance is 1.3 times the other's: no more than 320 values may have by chance.
    "larger draws": ("        pass", "        nn.init.uniform_(self.head.weight, -1.15 / 32**0.5, 1.15 / 32**0.5)"),
    # Rows that differ within their limits leave open where the output's change begins.
    "a row that differs": (
        "        pass",
        "        self.blocks[0].layer.weight.data.mul_(1.03); self.head.weight.data.mul_(1.3)",
    ),
    "rounding": (RETURNED, RETURNED + " * 1.0000001"),
    "another head": ("nn.Linear(32, 10)\n", "nn.Linear(32, 7)\n        self.head.weight.data.mul_(1.3)\n"),
}


@pytest.mark.parametrize(("old", "new"), HARMLESS.values(), ids=HARMLESS)
def test_what_is_harmless_or_no_longer_the_same_head_passes(old: str, new: str) -> None:
    accepted()
    assert old in CODE
    Path("net.py").write_text(CODE.replace(old, new), encoding="utf-8")
    assert run("check", *NET)[0] == 0


def test_exact_takes_every_digit_of_the_output() -> None:
    accepted()
    assert run("check", *NET, "--exact")[0] == 0
    Path("net.py").write_text(CODE.replace(RETURNED, RETURNED + " * 1.001"), encoding="utf-8")
    assert run("check", *NET)[0] == 0
    code, out = run("check", *NET, "--exact")
    assert (code, "block 4 (output)" in out) == (1, True)


def test_a_fault_of_a_row_is_told_once() -> None:
    accepted()
    Path("net.py").write_text(CODE.replace("torch.relu(self.norm(x))", "torch.tanh(self.norm(x))"), encoding="utf-8")
    code, out = run("check", *NET)
    assert (code, "output" in out) == (1, False)


OTHERS = {
    "sparse": "{}.to_sparse()",
    "text": "(str({}), 3)",
    "nothing": "({}, None)[1]",
    "lost": "{} * float('nan')",
    "integers": "{}.argmax(-1)",
    "a number": "{}.sum()",
    "empty": "{}[:, :0]",
    "half": "{}.half()",
    "an unused part first": "(torch.ones(3), {})",
}


@pytest.mark.parametrize("form", OTHERS.values(), ids=OTHERS)
def test_any_output_is_survived(form: str) -> None:
    returned = RETURNED.removeprefix("return ")
    Path("net.py").write_text(CODE.replace(RETURNED, "return " + form.format(returned)), encoding="utf-8")
    code, out = run("check", *NET)
    assert (code, out[:4]) == (0, "PASS")


@pytest.mark.parametrize("output", [None, 3, {}, {"channel_variance": [1.0, "x"]}, {"channel_variance": [-1.0, 1.0]}])
def test_a_baseline_that_says_nothing_of_it_or_nonsense_is_survived(output: object) -> None:
    accepted()
    path = Path(".sppkit/baselines/net-Net.json")
    held = json.loads(path.read_text(encoding="utf-8"))
    held["run"]["output"] = output
    path.write_text(json.dumps(held), encoding="utf-8")
    Path("net.py").write_text(CODE.replace("        pass", "        self.head.weight.data.mul_(1.3)"), encoding="utf-8")
    assert run("check", *NET)[0] == 0
