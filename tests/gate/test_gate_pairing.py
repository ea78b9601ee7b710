"""Paired and unpaired comparisons: tables made by hand, digests of weights drawn by NumPy, networks of a few layers."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

import sppkit
from sppkit.curves.curves import Curves
from sppkit.curves.depth_spread import accumulated_variance
from sppkit.curves.match_blocks import match_sites
from sppkit.gate.baseline import Baseline, read_baseline, write_baseline
from sppkit.gate.compared import compare
from sppkit.gate.weights import compare_weights
from sppkit.measuring.digest_weights import digest_weights, merge_digests
from sppkit.record.table import build_table

if TYPE_CHECKING:
    import pandas as pd

    from sppkit.gate.verdict import Verdict

SEEDS = (0, 1, 2, 3)


def plain(seeds: tuple[int, ...] = SEEDS, *, rows: int = 6, step: float = 0.3) -> pd.DataFrame:
    """A network whose log variance walks at random, seed by seed: no prior knows how far."""
    found: list[dict[str, Any]] = []
    for seed in seeds:
        random = np.random.default_rng(seed)
        walk = np.cumsum(step * random.standard_normal(rows))
        found += [
            {"seed": seed, "block": k, "stage": 1, "name": f"blocks.{k}", "channels": 32, "height": 8, "width": 8,
             "channel_squared_mean": 0.05 * math.exp(walk[k]), "channel_variance": math.exp(walk[k]),
             "residual_variance": 0.5 * math.exp(walk[k]), "nonfinite": 0}
            for k in range(rows)
        ]  # fmt: skip
    return build_table(found)


def changed(table: pd.DataFrame, first: int, column: str, factor: float) -> pd.DataFrame:
    other = table.copy()
    other.loc[other["block"] >= first, column] *= factor
    return other


def digests(seeds: tuple[int, ...] = SEEDS, *, draws: int = 0, **weights: Any) -> dict[str, Any]:
    """The record of a network with one weight in each block, drawn from one stream a seed."""
    found = []
    for seed in seeds:
        random = np.random.default_rng([seed, draws])
        model = nn.Module()
        for k in range(6):
            weight = torch.from_numpy(random.standard_normal(256))
            change = weights.get(f"w{k}", lambda values: values)
            block = nn.Module()
            block.weight = nn.Parameter(change(weight))
            model.add_module(f"blocks_{k}", block)
        found.append({name.replace("_", "."): text for name, text in digest_weights(model).items()})
    return {"seeds": list(seeds), "weights": merge_digests(found)}


def judged(new: pd.DataFrame, base: pd.DataFrame, record: Any = None, base_record: Any = None) -> Verdict:
    policy = {"growth": {"level": "off"}, "variance_kept": {"level": "off"}, "mean_shift": {"level": "off"}}
    return sppkit.check(new, policy=policy, baseline=Baseline("b", base, base_record or {}, {}), record=record or {})


# --- paired


@pytest.mark.parametrize("first", [0, 3])
def test_a_change_that_seeds_would_hide_is_real_where_weights_are_equal(first: int) -> None:
    table = changed(plain(), first, "channel_variance", 1.25)
    verdict = judged(table, plain(), digests(), digests())
    assert verdict.first is not None
    assert (verdict.first.block, verdict.first.statistic, verdict.first.chance) == (first, "channel_variance", None)
    assert verdict.first.ratio == pytest.approx(1.25)
    assert verdict.tests[0].startswith("paired by seed (4 in common)")
    assert verdict.tests[1] == "the weights are the baseline's: the code has changed, or the input"


def test_rounding_is_no_change_and_a_small_one_is_told() -> None:
    verdict = judged(changed(plain(), 2, "channel_variance", 1 + 1e-6), plain())
    assert verdict.tests == ("paired by seed, and unchanged: every row is equal within 1e-05",)
    assert verdict.notices == ()
    table = plain()
    table.loc[table["block"] == 0, "residual_variance"] *= 1.1
    verdict = judged(table, plain())
    assert verdict.passed
    assert verdict.notices == ("real but small: from blocks.0 on, at most ×1.1 (residual variance at blocks.0)",)


def test_one_shared_seed_is_enough() -> None:
    table = changed(plain((3, 7, 8)), 2, "channel_variance", 1.3)
    verdict = judged(table, plain((0, 3)), digests((3, 7, 8)), digests((0, 3)))
    assert verdict.first is not None
    assert (verdict.first.block, verdict.first.seeds) == (2, 1)


def test_seeds_that_disagree_on_the_sign_show_no_effect() -> None:
    table = plain()
    table.loc[table["block"] == 5, "residual_variance"] *= np.array([3.0, 0.2, 3.0, 0.2])
    assert judged(table, plain(), digests(), digests()).passed


def test_a_squared_mean_matters_by_its_share() -> None:
    small = changed(plain(), 2, "channel_squared_mean", 0.001)
    assert judged(changed(small, 2, "channel_squared_mean", 42), small).passed
    # 0.05 / 1.05 = 0.048 becomes 0.2 / 1.2 = 0.167.
    verdict = judged(changed(plain(), 2, "channel_squared_mean", 4), plain())
    assert verdict.first is not None
    assert (verdict.first.statistic, verdict.first.block) == ("mean_share", 2)
    assert (verdict.first.expected, verdict.first.found) == (pytest.approx(0.05 / 1.05), pytest.approx(0.2 / 1.2))
    assert verdict.first.limit == pytest.approx(0.05 / 1.05 + 0.08)


def test_a_mean_that_outweighed_the_variance_may_fall_and_any_other_may_not() -> None:
    large, half = (changed(plain(), 0, "channel_squared_mean", factor) for factor in (40, 10))
    verdict = judged(half, large)
    assert verdict.passed
    assert verdict.notices[-1].startswith("improvement: the squared mean fell from blocks.0 on (6 of 6")
    verdict = judged(plain(), half)
    assert [finding.statistic for finding in verdict.errors] == ["mean_share"] * 6


def test_what_an_addition_takes_of_its_branch() -> None:
    # v_k = v_(k-1) + s² r_k with s² = 0.04: an addition that takes twice as much moves the variance by 4 % at first.
    def table(taken: float) -> pd.DataFrame:
        frame = plain(step=0.0)
        frame["channel_variance"], frame["residual_variance"] = 1.0 + taken * frame["block"], 1.0
        return frame

    verdict = judged(table(0.08), table(0.04))
    assert verdict.first is not None
    assert (verdict.first.statistic, verdict.first.block) == ("addition_gain", 1)
    assert (verdict.first.expected, verdict.first.found) == (pytest.approx(0.04), pytest.approx(0.08))
    assert judged(table(0.0008), table(0.0004)).passed, "nobody feels a branch of a thousandth"


def test_what_grows_little_by_little_is_found_where_it_begins() -> None:
    table = plain()
    for block in range(1, 6):
        table = changed(table, block, "channel_variance", 1.06)
    verdict = judged(table, plain())
    assert verdict.first is not None
    assert verdict.first.block == 1
    assert verdict.first.reason.startswith("what fails further on begins here")
    assert {finding.block for finding in verdict.errors} == {1, 4, 5}


# --- what became of the weights


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: 1.4 * w, "is 1.4 times the baseline's"),
        (lambda w: -w, "is -1 times the baseline's"),
        (lambda w: w + 0.0 * w + 2.0 * w.std(correction=0), "is shifted by 2 standard deviations"),
        (torch.zeros_like, "is 0 throughout, and was drawn in the baseline"),
    ],
)
def test_a_changed_weight_is_told(change: Any, words: str) -> None:
    weights = compare_weights(digests(w3=change), digests(), SEEDS)
    assert weights is not None
    assert dict(weights.changed) == {"blocks.3.weight": words}
    assert weights.redrawn == ()


def test_draws_made_anew_are_told_from_another_distribution() -> None:
    again = compare_weights(digests(draws=1), digests(), SEEDS)
    assert again is not None
    assert (again.changed, len(again.redrawn)) == ({}, 6)
    wider = compare_weights(digests(draws=1, w2=lambda w: 2 * w), digests(), SEEDS)
    assert wider is not None
    assert list(wider.changed) == ["blocks.2.weight"]
    assert wider.changed["blocks.2.weight"].startswith("is drawn anew, with ")


def test_renamed_weights_are_found_by_their_values() -> None:
    new, base = digests(), digests()
    new["weights"] = {f"backbone.{name}": found for name, found in new["weights"].items()}
    weights = compare_weights(new, base, SEEDS)
    assert weights is not None
    assert weights.are_equal


@pytest.mark.parametrize("text", ["", "64", "64 nan 1 1 1 1", "x 1 2 3 4 5", "64 1 2", 3, None, ["64 1"]])
def test_a_digest_that_makes_no_sense_is_none(text: Any) -> None:
    record = {"seeds": [0], "weights": {"w": [text]}}
    assert compare_weights(record, record, [0]) is None


def test_a_digest_survives_another_order_of_summation_and_half_precision_is_itself() -> None:
    layer = nn.Conv2d(8, 8, 3)
    last = nn.Conv2d(8, 8, 3)
    last.load_state_dict(layer.state_dict())
    last.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    sides = [{"seeds": [0], "weights": merge_digests([digest_weights(item)])} for item in (layer, last)]
    weights = compare_weights(*sides, [0])
    assert weights is not None
    assert weights.are_equal
    assert digest_weights(nn.BatchNorm2d(3)) == {
        "weight": "3 1", "bias": "3 0", "running_mean": "3 0", "running_var": "3 1"
    }  # fmt: skip


# --- unpaired


def test_other_draws_are_unpaired_from_the_first_row_that_holds_them() -> None:
    fresh = plain((10, 11, 12, 13)).assign(seed=plain()["seed"])
    mixed = plain()
    behind = mixed["block"] >= 3
    mixed[behind] = fresh[behind]
    new = digests(w3=_drawn, w4=_drawn, w5=_drawn)
    verdict = judged(mixed, plain(), new, digests())
    assert verdict.passed
    assert "unpaired from blocks.3 on (other draws of blocks.3.weight and 2 more)" in verdict.tests[-1]
    assert "--reinit keyed pairs them" in verdict.tests[-1]
    assert not judged(changed(mixed, 3, "channel_variance", 1e6), plain(), new, digests()).passed


def _drawn(weight: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(int(1e6 * abs(float(weight[0])))).standard_normal(len(weight)))


def test_a_wider_distribution_is_no_chance_where_its_row_stands() -> None:
    table = plain((10, 11, 12, 13), step=0.1).assign(seed=plain()["seed"])
    base = plain(step=0.1)
    wide = digests(draws=1, w2=lambda w: 2 * w)
    louder = changed(table, 2, "channel_variance", 1.8)
    assert judged(louder, base, digests(draws=1), digests()).passed
    first = judged(louder, base, wide, digests()).first
    assert first is not None
    assert first.block >= 2


def test_a_walk_of_log_variances_raises_no_alarm() -> None:
    # sd 0.3 a row: 0.73 behind six. A spread without depth would call a third of these pairs a change.
    groups = [plain(tuple(range(first, first + 4))) for first in range(0, 240, 4)]
    curves = [Curves(table, {}) for table in groups]
    alarms = [
        change
        for new, base in zip(curves[1:], curves, strict=False)
        for change in compare(new, base).changes
        if change.is_real and abs(change.size) > math.log(1.2)
    ]
    assert alarms == []


def test_the_spread_of_a_walk_grows_and_of_noise_does_not() -> None:
    random, channels = np.random.default_rng(0), np.full(12, 16.0)
    steps = random.standard_normal((40, 12))
    walk = accumulated_variance([0.25 * steps.cumsum(axis=1)], channels, forgets=False)
    assert walk[-1] == pytest.approx(12 * 0.25**2, rel=0.3)
    noise = accumulated_variance([0.25 * steps], channels, forgets=False)
    assert noise[-1] == pytest.approx(0.25**2, rel=0.3)
    # One seed says nothing: 2.5/C a layer, unless blocks are known to forget.
    assert accumulated_variance([steps[:1]], channels, forgets=False)[-1] == pytest.approx(12 * 2.5 / 16)
    assert not accumulated_variance([steps[:1]], channels, forgets=True).any()


# --- baselines and matching


def test_a_baseline_holds_the_digests_and_an_old_one_is_paired_by_its_rows(tmp_path: Any) -> None:
    path = tmp_path / "b.json"
    write_baseline("b", plain(), digests(), path, reason="because")
    text = path.read_text()
    assert len([line for line in text.splitlines() if line.startswith('  "blocks.')]) == 6
    base = read_baseline(path)
    table = changed(plain(), 3, "channel_variance", 1.25)
    assert not sppkit.check(table, baseline=base, record=digests()).passed
    old = Baseline("b", base.table, {name: value for name, value in base.record.items() if name != "weights"}, {})
    verdict = sppkit.check(table, baseline=old, record=digests())
    assert verdict.first is not None
    assert verdict.first.block == 3
    path.write_text(text.replace('"weights": {', '"weights": [], "w": {'))
    with pytest.raises(sppkit.UsageError, match="weights must be an object"):
        read_baseline(path)


def test_a_name_that_is_there_is_no_other_blocks_new_name() -> None:
    found = match_sites([("a", 8.0), ("a", 8.0)], [("a", 8.0), ("b", 8.0)])
    assert (found.renamed, found.new, found.vanished) == ((), (1,), (1,))


def test_blocks_that_change_places_are_neither_new_nor_gone() -> None:
    found = match_sites([("a", 8.0), ("b", 8.0)], [("b", 8.0), ("a", 8.0)])
    assert (found.pairs, found.new, found.vanished) == (((0, 1), (1, 0)), (), ())


def test_a_hundred_thousand_blocks_are_matched_in_a_moment() -> None:
    sites = [(f"block{k}", 8.0) for k in range(100_000)]
    started = time.perf_counter()
    found = match_sites([(f"layer{k}", 8.0) for k in range(100_000)], sites)
    assert len(found.renamed) == 100_000
    assert time.perf_counter() - started < 10
