"""Additions against a baseline: the first block's, and those that are gone altogether."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest
import torch
from torch import nn

import sppkit
from sppkit.gate.baseline import read_baseline, write_baseline

if TYPE_CHECKING:
    from pathlib import Path

    from sppkit.gate.verdict import Verdict

SEEDS, WIDTH = range(4), 32
RECORD = {"input": {"kind": "gaussian", "batch_shape": [16, WIDTH], "batches": 1}, "seeds": list(SEEDS)}


class Block(nn.Module):
    def __init__(self, factor: float, skip: float, *, project: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.shortcut = nn.Linear(WIDTH, WIDTH) if project else nn.Identity()
        self.factor, self.skip = factor, skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.layer(torch.relu(x))
        if not self.skip:
            return self.factor * branch
        return self.skip * self.shortcut(x) + self.factor * branch


def run(blocks: int = 1, *, factor: float = 1.0, skip: float = 1.0, project: bool = False) -> pd.DataFrame:
    tables = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        body = [Block(factor, skip, project=project) for _ in range(blocks)]
        model = nn.Sequential(nn.Linear(WIDTH, WIDTH), *body, nn.Linear(WIDTH, 5))
        torch.manual_seed(seed)
        tables.append(sppkit.measure(model, torch.randn(16, WIDTH), seed=seed))
    return pd.concat(tables, ignore_index=True)


def held(new: pd.DataFrame, base: pd.DataFrame, folder: Path) -> Verdict:
    """A run against another, as it is read from a file."""
    path = folder / "base.json"
    write_baseline("base", base, RECORD, path, reason="as published")
    return sppkit.check(new, baseline=read_baseline(path), record=RECORD)


def test_the_only_block_of_a_network_adds_its_branch_with_another_factor(tmp_path: Path) -> None:
    verdict = held(run(factor=1.3), run(), tmp_path)
    assert "addition_gain" in {finding.statistic for finding in verdict.errors}, verdict
    assert verdict.first is not None
    assert verdict.first.block == 1
    assert held(run(), run(), tmp_path).passed


def test_a_first_block_that_projects_its_skip_is_held_to_no_law_of_addition(tmp_path: Path) -> None:
    # Two draws of a shortcut differ by more than a fifth of what row 0 and the branch would say.
    base = run(project=True)
    chosen = base["block"] == 1
    new = base.assign(channel_variance=base["channel_variance"].where(~chosen, base["channel_variance"] * 1.1))
    verdict = held(new, base, tmp_path)
    assert "addition_gain" not in {finding.statistic for finding in verdict.findings}
    assert verdict.passed


@pytest.mark.parametrize("blocks", [1, 4])
def test_where_every_skip_is_missing_that_is_said_and_nothing_of_names_or_statistics(
    blocks: int, tmp_path: Path
) -> None:
    verdict = held(run(blocks, skip=0.0), run(blocks), tmp_path)
    assert verdict.first is not None
    assert verdict.first.cause.startswith(f"the baseline has {blocks} times an addition of a skip and a branch")
    assert "every skip is missing" in verdict.first.cause
    assert verdict.first.block == 1
    assert not any("--stats" in finding.cause or "renamed" in finding.cause for finding in verdict.findings)


def test_a_network_that_never_had_a_skip_is_told_of_none(tmp_path: Path) -> None:
    base = run(3, skip=0.0)
    assert held(base, base, tmp_path).passed
    verdict = held(run(3, skip=0.0, factor=2.0), base, tmp_path)
    assert verdict.errors
    assert not any("skip" in finding.cause for finding in verdict.errors)


def test_one_skip_among_several_that_is_missing_is_among_the_causes(tmp_path: Path) -> None:
    base = run(3)
    verdict = held(base[base["block"] != 2], base, tmp_path)
    assert verdict.first is not None
    assert "its skip is missing" in verdict.first.cause


class Projecting(nn.Module):
    """Blocks whose small branches are added to a skip, which the middle one projects."""

    def __init__(self, factor: float, gain: float) -> None:
        super().__init__()
        self.stem = nn.Linear(WIDTH, WIDTH)
        self.layers = nn.ModuleList([
            nn.Linear(WIDTH if k < 3 else 2 * WIDTH, WIDTH if k < 2 else 2 * WIDTH) for k in range(5)
        ])
        self.shortcut = nn.Linear(WIDTH, 2 * WIDTH)
        self.head = nn.Linear(2 * WIDTH, 5)
        self.factor = factor
        for layer in self.layers:
            layer.weight.data.mul_(1.5)
        self.layers[2].weight.data.mul_(gain)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for index, layer in enumerate(self.layers):
            branch = layer(torch.relu(x))
            skip = self.shortcut(x) if index == 2 else x
            x = skip + (self.factor if index == 2 else 0.3) * branch
        return self.head(x)


def projecting(factor: float = 0.3, gain: float = 1.0) -> pd.DataFrame:
    tables = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = Projecting(factor, gain)
        torch.manual_seed(seed)
        tables.append(sppkit.measure(model, torch.randn(16, WIDTH), seed=seed))
    return pd.concat(tables, ignore_index=True)


def test_the_addition_of_a_block_that_projects_its_skip_is_held_against_what_came_before(tmp_path: Path) -> None:
    base = projecting()
    verdict = held(projecting(factor=0.6), base, tmp_path)
    assert {(finding.block, finding.statistic) for finding in verdict.errors if finding.block == 3} >= {
        (3, "addition_gain")
    }, verdict
    # A branch of another variance, added as before, is no other addition.
    more = held(projecting(gain=1.5), base, tmp_path)
    assert "addition_gain" not in {finding.statistic for finding in more.findings if finding.block == 3}
    assert held(base, base, tmp_path).passed
