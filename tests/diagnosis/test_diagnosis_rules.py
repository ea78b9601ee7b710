"""Single rules on tables of given values: thresholds, what is said, predictions, seeds and consequences."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import sppkit
from signal_tables import BN, HE, NF, record, table
from sppkit.curves.curves import Curves
from sppkit.curves.factors import block_factors, kept_taps
from sppkit.diagnosis.rules import apply_rules

if TYPE_CHECKING:
    from collections.abc import Sequence

NAN = math.nan


def names(frame: pd.DataFrame, run: dict[str, Any] | None = None) -> list[str]:
    return [item.name for item in sppkit.diagnose(frame, run)]


def nf(*stages: int, **options: Any) -> dict[str, Any]:
    return record(NF | {"stages": list(stages), "padding": "circular", "stem": "no-pool"} | options, 1.0)


def healthy_nf(*stages: int, alpha: float = 1.0, branch: float = 1.0, shortcut: float = 1.0) -> dict[str, Any]:
    """Values of a scaled network, computed block by block: what a block's branch and shortcut make of its input."""
    variances, branches = [], []
    v, beta_squared = 1.0, 1.0
    for blocks in stages:
        for position in range(blocks):
            r = branch * v / beta_squared
            v = (shortcut * v / beta_squared if position == 0 else v) + alpha**2 * r
            beta_squared = (1.0 if position == 0 else beta_squared) + alpha**2
            branches.append(r)
            variances.append(v)
    return {"variance": in_stages(variances, stages), "residual": in_stages(branches, stages), "stem": 1.0}


def in_stages(values: Sequence[float], stages: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    rest = iter(values)
    return tuple(tuple(next(rest) for _ in range(blocks)) for blocks in stages)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
@pytest.mark.parametrize(("branch", "shortcut"), [(1.0, 1.0), (0.3, 1.0), (8.0, 2.0), (1 / 27, 1 / 3)])
def test_factors_are_what_each_block_does_whatever_came_before(alpha: float, branch: float, shortcut: float) -> None:
    frame = table(mean=0.0, **healthy_nf(2, 3, 2, alpha=alpha, branch=branch, shortcut=shortcut))
    factors = block_factors(Curves(frame, nf(2, 3, 2, alpha=alpha)))
    assert factors is not None
    assert list(factors.branch) == pytest.approx([branch] * 7)
    assert [f for f in factors.shortcut if not math.isnan(f)] == pytest.approx([shortcut] * 3)


# A 3x3 filter on a map of n x n: count the taps that lie inside, in every position.
@pytest.mark.parametrize(("n", "stride"), [(1, 1), (2, 1), (7, 1), (7, 2), (14, 2)])
def test_kept_taps_are_counted(n: int, stride: int) -> None:
    size = n * stride
    inside = [sum(0 <= stride * i + t < size for t in (-1, 0, 1)) / 3 for i in range(n)]
    stages = ((1.0,), (1.0,)) if stride == 2 else ((1.0, 1.0),)
    curves = Curves(table(stages, size=n), nf(*map(len, stages), padding="zeros"))
    assert kept_taps(curves)[1] == pytest.approx((sum(inside) / n) ** 2)


def test_height_and_width_lose_their_own_taps() -> None:
    # 2/3 of the taps are left in a column of 2, 8/9 in a row of 6.
    frame = table(((1, 2),)).assign(height=2, width=6)
    assert kept_taps(Curves(frame, nf(2, padding="zeros")))[1] == pytest.approx(2 / 3 * 8 / 9)


def test_a_normalizer_makes_up_for_all_but_the_last_convolution() -> None:
    kept = {}
    for norm in ("bn", "none"):
        for block in ("bottleneck", "basic"):
            run = nf(2, padding="zeros", norm=norm, block=block)
            kept[norm, block] = kept_taps(Curves(table(((1, 2),)), run))[1]
    share = (1 - 2 / 21) ** 2
    assert kept == pytest.approx({("bn", "bottleneck"): 1, ("bn", "basic"): share,
                                  ("none", "bottleneck"): share, ("none", "basic"): share**2})  # fmt: skip


THRESHOLDS: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "mean below the variance": ({"mean": ((0.9, 1.9), (0.9, 1.9))}, BN, []),
    "mean above the variance": ({"mean": ((1.3, 1.9), (0.9, 1.9))}, HE, ["mean-shift"]),
    "mean below a tenth": ({"mean": 0.09}, nf(2, 2)["network"], []),
    "mean above a tenth": ({"mean": 0.25}, nf(2, 2)["network"], ["mean-shift"]),
    "as much is nothing without a centre": ({"mean": 0.25}, BN, []),
    "grows far": ({"variance": ((1, 29), (1, 29)), "residual": None}, BN, []),
    "explodes": ({"variance": ((1, 9), (1, 31)), "residual": None}, BN, ["exploding-variance"]),
    "large alpha explains it": ({"variance": ((1, 9), (1, 31)), "residual": None}, BN | {"alpha": 4.0}, []),
    "a sag": ({"variance": ((1, 1), (0.002, 0.002)), "mean": 0.0, "residual": None}, BN, []),
    "vanishes": ({"variance": ((1, 1), (0.001, 0.001)), "mean": 0.0, "residual": None}, BN, ["vanishing-variance"]),
    "a normalizer has a scale of its own": ({"stem": 1e6, "residual": None}, BN, []),
    "without, the stem counts": ({"stem": 1e6, "residual": None}, HE, ["vanishing-variance"]),
    "resets": ({"variance": ((2, 3, 4), (2, 3, 4)), "residual": None}, {}, []),
    "falls by more than half": ({"variance": ((2, 3, 4), (3.1, 4.1)), "residual": None}, {}, []),
    "falls by less than half": ({"variance": ((2, 3, 4), (3.2, 4.2)), "residual": None}, {}, ["no-reset"]),
    "nothing built up": ({"variance": ((1, 1.1), (1.2, 1.3)), "residual": None}, {}, []),
    "falls, branch known": ({"variance": ((2, 3, 4), (3.5, 4.5)), "residual": 1.0}, BN, []),
    "goes on, branch known": ({"variance": ((2, 3, 4), (3.9, 4.9)), "residual": 1.0}, BN, ["no-reset"]),
    "a weak branch": ({"residual": 1.1e-6, "variance": ((1, 1.0001), (1, 1.0001))}, {}, []),
    "a dead branch": ({"residual": 0.9e-6, "variance": ((1, 1.0001), (1, 1.0001))}, {}, ["dead-branch"]),
    "a weak branch, scaled up": ({"residual": 0.9e-6}, BN | {"alpha": 500.0}, []),
    "a branch, scaled down": ({"residual": 0.6}, BN | {"alpha": 1e-3}, ["dead-branch"]),
    "the same signal": ({"variance": ((1, 1), (1, 2))}, {}, ["dead-branch"]),
    "a strong branch": ({"variance": ((1, 9.9), (1, 2)), "residual": 9.0}, {}, []),
    "a dominant branch": ({"variance": ((1, 10.1), (1, 2)), "residual": 9.0}, {}, ["dominant-branch"]),
    "weaker than expected": ({"residual": 0.35}, BN, []),
    "half of what is expected": ({"residual": 0.34}, BN, ["unexpected-branch"]),
}


@pytest.mark.parametrize(("values", "network", "expected"), THRESHOLDS.values(), ids=THRESHOLDS)
def test_thresholds(values: dict[str, Any], network: dict[str, Any], expected: list[str]) -> None:
    run = record(network, 0.6817 if network == BN and values.get("residual") in {0.35, 0.34} else None)
    assert [item.name for item in apply_rules(Curves(table(**values, size=32), run))] == expected


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.25, []), (1.35, ["wrong-gain"]), (0.8, []), (0.74, ["wrong-gain"])]
)
def test_a_gain_is_wrong_beyond_a_factor_of_1_3(factor: float, expected: list[str]) -> None:
    frame = table(mean=0.0, size=32, **healthy_nf(3, 3, 3, alpha=0.2, branch=factor**3, shortcut=factor))
    assert names(frame, nf(3, 3, 3, alpha=0.2)) == expected


@pytest.mark.parametrize(("share", "expected"), [(0.27, ["missing-se-factor"]), (0.49, ["missing-se-factor"]),
                                                 (0.13, ["missing-se-factor"]), (0.51, []),
                                                 (0.12, ["unexpected-branch"])])  # fmt: skip
def test_a_missing_factor_is_a_quarter(share: float, expected: list[str]) -> None:
    frame = table(mean=0.0, size=32, **healthy_nf(3, 3, alpha=0.2, branch=share))
    assert names(frame, nf(3, 3, alpha=0.2, se=True)) == expected


@pytest.mark.parametrize(
    ("samples", "batches", "size", "expected"),
    [(2, 1, 2, []), (64, 1, 2, ["mean-shift"]), (2, 32, 2, ["mean-shift"]), (2, 1, 16, ["mean-shift"])],
)
def test_the_mean_of_few_values_is_chance(samples: int, batches: int, size: int, expected: list[str]) -> None:
    # 4 / 8 values + 1 / 64 channels = 52 %; of 100 values and more under 10 %.
    run = nf(2, 2) | {"input": {"kind": "gaussian", "batch_shape": [samples, 3, 64, 64], "batches": batches}}
    assert names(table(mean=0.4, size=size), run) == expected
    # All positions of a picture may be alike: only samples count.
    run["input"]["kind"] = "pictures"
    assert names(table(mean=0.4, size=16), run) == []
    assert names(table(mean=2.5, size=16), run) == (["mean-shift"] if samples * batches > 8 else [])


def test_a_deviation_from_theory_is_given_as_a_ratio_and_in_standard_deviations() -> None:
    columns = {"predicted_channel_squared_mean": 2.0, "predicted_channel_squared_mean_spread": 0.2}
    one = table(mean=3.0, **columns)
    [found] = sppkit.diagnose(one, record(HE))
    assert (found.found, found.expected, found.ratio) == (3.0, 2.0, 1.5)
    assert found.deviations == pytest.approx(5.0)
    compared = (
        "(at block 1 theory predicts 2 for this network, measured is 3, 1.5 times that, +5.0 standard deviations)"
    )
    assert compared in found.text
    # The mean of four seeds scatters half as much.
    four = pd.concat([one.assign(seed=seed) for seed in range(4)])
    assert sppkit.diagnose(four, record(HE))[0].deviations == pytest.approx(10.0)


def test_without_a_prediction_nothing_is_compared_with_it() -> None:
    [found] = sppkit.diagnose(table(mean=3.0), record(HE))
    assert (found.expected, found.ratio, found.deviations) == (None, None, None)
    assert "theory" not in found.text
    assert replace(found, expected=0.0, spread=0.1).ratio is None


@pytest.mark.parametrize(
    ("spread", "measured", "expected"),
    [(0.01, 0.45, ["unexpected-branch"]), (0.2, 0.45, []), (0.01, 0.8, [])],
    ids=["far", "within five standard deviations", "within a factor of two"],
)
def test_branches_are_compared_with_their_predictions(spread: float, measured: float, expected: list[str]) -> None:
    frame = table(residual=measured, size=32, predicted_residual_variance=1.0,
                  predicted_residual_variance_spread=spread)  # fmt: skip
    assert names(frame, record(BN)) == expected


def test_the_example_of_a_sentence() -> None:
    shares = [0.3 + 0.04 * k for k in range(1, 24)]
    frame = table(((1.0,) * 23,), (tuple(shares),), None)
    [found] = sppkit.diagnose(frame, record(NF | {"weights": "none"}))
    assert found.text == (
        "The squared mean passes the variance at block 19 (b19) and reaches 1.22 times the variance at block 23; "
        "this is the mean shift of ReLU followed by weights with non-zero mean; scaled-ws removes it (predicted 0.00)."
    )
    assert str(found) == f"error: {found.text}"


def test_errors_come_before_warnings_and_remarks() -> None:
    residual = ((0.6, 0.6), (0.6, 0))
    found = sppkit.diagnose(table(mean=3.0, residual=residual), record(HE))
    assert [(item.name, item.severity) for item in found] == [("mean-shift", "error"), ("dead-branch", "warning")]


def test_what_comes_before_a_fault_is_no_consequence_of_it() -> None:
    # The branch of block 2 is dominant, and the variance is lost in block 3: two faults.
    assert names(table(((1, 20), (5e-4, 5e-4)), 0.0, ((1, 19), (1, 1)))) == ["vanishing-variance", "dominant-branch"]
    # Lost in block 2 and back with block 4, whose branch can't but dominate: one.
    assert names(table(((1, 1e-4), (1e-4, 1)), 0.0, 1.0)) == ["vanishing-variance"]


@pytest.mark.parametrize(
    ("further", "said"),
    [
        ({"stochastic_depth": 0.5}, "stochastic depth has dropped it for every sample of the batch"),
        ({"skip_gain": 0.0}, "the skip gain is 0, as SkipInit starts it"),
        ({}, "the factor before the addition is near 0 (LayerScale, SkipInit)"),
    ],
    ids=["stochastic depth", "skip gain", "neither"],
)
def test_why_a_branch_that_is_alive_adds_nothing(further: dict[str, Any], said: str) -> None:
    [found] = sppkit.diagnose(table(((1, 1), (1, 2)), residual=0.6), record(BN | further))
    assert (found.name, found.severity) == ("dead-branch", "remark")
    assert said in found.cause


def test_branches_that_grow_with_a_width_are_linear_growth() -> None:
    # A transformer whose branches are stronger than its embeddings: 50 a block, from 0.01 on.
    growth = (tuple(50.0 * block for block in range(1, 25)),)
    assert names(table(growth, 0.0, 50.0, stem=0.01)) == ["dominant-branch"]
    assert names(table(growth, 0.0, None, stem=0.01)) == []
    compounded = (tuple(1.5**block for block in range(1, 25)),)
    assert names(table(compounded, 0.0, (tuple(0.5 * v for v in compounded[0]),), stem=1.0)) == ["exploding-variance"]


def test_growth_that_has_ended_began_before_its_peak() -> None:
    # Without anything that sets a scale; the last block is below the first again.
    frame = table(((1.0, 1.2, 9.0, 0.5),), 0.0, 0.1)
    [found] = [item for item in sppkit.diagnose(frame, record(HE)) if item.name == "exploding-variance"]
    assert (found.block, found.worst_block, found.severity) == (2, 3, "error")


def test_the_blocks_before_a_loss_are_judged() -> None:
    frame = table(((1, 4), (1600, NAN)), 0.0, None, lost=4)
    found = sppkit.diagnose(frame, record(HE))
    assert [item.name for item in found] == ["non-finite", "exploding-variance"]
    assert (found[0].block, found[0].block_name, found[0].found, found[0].limit) == (4, "b4", 5.0, 0.0)


CAUSES: dict[str, tuple[dict[str, Any], str]] = {
    "overflow": ({"dtype": "float16"}, "the values overflow: float16 ends at 6.55e+04"),
    "far from overflow": ({"dtype": "float32"}, "its input is finite and far from overflowing"),
    "unknown type": ({}, "its input is finite and far from overflowing"),
}


@pytest.mark.parametrize(("further", "cause"), CAUSES.values(), ids=CAUSES)
def test_the_cause_of_a_loss(further: dict[str, Any], cause: str) -> None:
    frame = table(((1e6, 1e7), (1e8, NAN)), 0.0, None, lost=4)
    assert sppkit.diagnose(frame, record(HE, **further))[0].cause.startswith(cause)


def test_a_stem_that_is_lost() -> None:
    frame = table(((NAN, NAN),), NAN, NAN, stem=NAN, lost=0)
    [found] = sppkit.diagnose(frame, record(NF))
    assert (found.name, found.block) == ("non-finite", 0)
    assert found.cause.startswith("the input or the stem's weights")


def test_a_checkpoint_is_not_judged_by_initial_values() -> None:
    run = nf(2, 2, skip_gain=0.0) | {"options": {"checkpoint": {"value": "x.pt", "source": "flag"}}}
    assert names(table(residual=0.1), run) == []
    del run["options"]
    assert names(table(residual=0.1), run) == ["dead-branch"]


def test_a_table_without_residual_blocks_is_no_fault() -> None:
    frame = table(((1.0,),))
    assert names(frame[frame["block"] == 0], nf(1)) == []


def test_statistics_that_were_not_measured_are_not_judged() -> None:
    for missing in ("mean", "residual"):
        assert names(table(**{missing: None}), record(BN)) == []
    assert names(table().assign(channel_variance=NAN), record(BN)) == []
