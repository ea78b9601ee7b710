"""``sppkit inspect --model`` and ``--sites``: the joins that are found, from the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from sppkit import read_csv
from sppkit.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

NETS = """
from torch import nn


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.branch = nn.Sequential(nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x):
        return x + self.branch(x)


def build(blocks=3):
    return nn.Sequential(nn.Conv2d(3, 8, 3), *[Block(8) for _ in range(blocks)])


def plain():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
"""
SMALL = ["--image-size", "16", "--batch-size", "2"]


@pytest.fixture
def nets(tmp_path: Path) -> str:
    file = tmp_path / "nets.py"
    file.write_text(NETS)
    return str(file)


def invoke(*arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, *SMALL])
    assert done.exit_code == 0, done.output
    return done.output


def test_inspect_shows_the_joins_and_why(nets: str) -> None:
    shown = invoke("inspect", "--model", f"{nets}:build")
    assert "Sequential has 3 residual joins." in shown
    assert "convolution in 1.branch.1" in shown
    assert "the skip is what the branch was computed from" in shown


def test_a_network_without_joins_says_so(nets: str, tmp_path: Path) -> None:
    told = "Sequential has no residual joins; it is measured at its 3 leaf modules"
    assert told in invoke("inspect", "--model", f"{nets}:plain")
    assert told in " ".join(invoke("plot", "--model", f"{nets}:plain", "--out", str(tmp_path)).split())
    assert told in json.loads((tmp_path / "nets-plain.json").read_text())["found"]


def test_corrections_change_the_rows(nets: str, tmp_path: Path) -> None:
    corrections = tmp_path / "sites.toml"
    corrections.write_text('[[join]]\nname = "2"\nkeep = false\n')
    run = ["--model", f"{nets}:build", "--sites", str(corrections)]
    assert "2 residual joins" in invoke("inspect", *run)
    invoke("plot", *run, "--out", str(tmp_path), "--name", "run")
    assert read_csv(tmp_path / "run.csv")["name"].tolist() == ["stem", "1", "3"]


def test_joins_of_a_named_architecture_are_those_it_declares(tmp_path: Path) -> None:
    network = ["--arch", "bn-relu-conv", "--stages", "1,2", "--width", "0.125"]
    assert "3 residual joins" in invoke("inspect", *network, "--sites", "found")
    invoke("plot", *network, "--out", str(tmp_path), "--name", "declared")
    invoke("plot", *network, "--sites", "found", "--out", str(tmp_path), "--name", "found")
    assert (tmp_path / "found.csv").read_text() == (tmp_path / "declared.csv").read_text()


def test_joins_are_not_found_block_by_block() -> None:
    run = ["plot", "--arch", "he-resnet", "--depth", "14", "--sites", "found", "--streaming", "on"]
    done = CliRunner().invoke(app, run)
    assert (done.exit_code, "means nothing with --sites" in done.output) == (2, True)


def test_corrections_that_cannot_be_read_are_refused_before_the_work(nets: str, tmp_path: Path) -> None:
    missing = str(tmp_path / "none.toml")
    done = CliRunner().invoke(app, ["plot", "--model", f"{nets}:build", "--sites", missing, *SMALL])
    assert done.exit_code == 2
    assert "none.toml" in done.output
