"""The judgement of tables: limits, chance, theory, baselines, causes; every table here is made by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

import sppkit
from sppkit.curves.chance import chance_of, deviate_of, error_between, estimate, t_against
from sppkit.curves.comparability import iter_incomparable
from sppkit.curves.curves import Curves
from sppkit.curves.laws import QUANTITIES
from sppkit.curves.match_blocks import match_sites
from sppkit.diagnosis.presets import PRESETS
from sppkit.errors import UsageError
from sppkit.gate.policy import load_policy, preset_policy
from sppkit.models.activations import gaussian_moments, load_activation
from sppkit.record.table import build_table
from sppkit.registry import ACTIVATIONS, ARCHITECTURES

if TYPE_CHECKING:
    import pandas as pd

WIDE = 2048


def healthy(seeds: int = 4, *, start: int = 0, stages: tuple[int, ...] = (3, 3), scatter: float = 0.01) -> pd.DataFrame:
    """BN-ReLU-Conv in closed form: variance 0.6817 (1 + k), squared mean 0.3183 (1 + k), residual variance 0.6817."""
    rows: list[dict[str, Any]] = []
    for seed in range(start, start + seeds):
        random = np.random.default_rng(seed)
        rows.append(row(seed, 0, 0, "stem", 0.736, 4.04, None, random, scatter))
        block = 0
        for stage, blocks in enumerate(stages, 1):
            for k in range(1, blocks + 1):
                block += 1
                values = 0.6817 * (1 + k), 0.3183 * (1 + k), 0.6817
                rows.append(row(seed, block, stage, f"blocks.{block - 1}", *values, random, scatter))
    return build_table(rows)


def row(seed: int, block: int, stage: int, name: str, v: float, m: float, r: float | None, random: Any, scatter: float):
    noise = np.exp(scatter * random.standard_normal(3))
    return {
        "seed": seed, "block": block, "stage": stage, "name": name, "channels": WIDE, "height": 56, "width": 56,
        "channel_squared_mean": m * noise[0], "channel_variance": v * noise[1],
        "residual_variance": None if r is None else r * noise[2], "nonfinite": 0,
    }  # fmt: skip


def record(**changes: Any) -> dict[str, Any]:
    network = {"norm": "bn", "alpha": 1.0, "skip_gain": 1.0, "activation": "relu", "padding": "zeros", "se": False}
    return {
        "arch": "bn-relu-conv", "mode": "train", "dtype": "float32", "network": network,
        "input": {"kind": "gaussian", "batch_shape": [8, 3, 224, 224], "batches": 1}, "seeds": [0, 1, 2, 3],
    } | changes  # fmt: skip


def altered(table: pd.DataFrame, name: str, column: str, factor: float) -> pd.DataFrame:
    changed = table.copy()
    changed.loc[changed["name"] == name, column] *= factor
    return changed


# --- chance


@pytest.mark.parametrize(("t", "freedom"), [(1.0, 5), (2.0, 11), (4.0, 11), (6.0, 14), (3.0, 8), (12.0, 30)])
def test_chance_agrees_with_scipy(t: float, freedom: int) -> None:
    exact = 2 * stats.t.sf(t, freedom)
    # Wallace's approximation is good to a few per cent of the exponent; the gate compares orders of magnitude.
    assert math.log10(chance_of(t, freedom, 1)) == pytest.approx(math.log10(exact), rel=0.02, abs=0.01)


def test_chance_of_several_tests_is_bonferronis() -> None:
    assert chance_of(3.0, 20, 50) == pytest.approx(50 * chance_of(3.0, 20, 1))
    assert chance_of(0.1, 20, 50) == 1.0


def test_t_statistics_of_known_spread() -> None:
    groups, prior = np.zeros(1, dtype=np.int64), np.array([0.1])
    one = estimate(np.array([[math.e]]), groups, prior)
    t, freedom = t_against(one, np.array([0.0]))
    # One seed has no spread of its own; the prior's 8 degrees of freedom carry its variance 0.01.
    assert (t[0], freedom) == (pytest.approx(10.0), 8.0)
    error, freedom = error_between(np.array([[1.0]]), np.array([[0.0]]), prior, groups)
    assert (error[0], freedom) == (pytest.approx(0.1 * math.sqrt(2)), 8.0)


@pytest.mark.parametrize(("chance", "freedom", "tests"), [(0.05, 10, 1), (1e-4, 14, 30), (1e-6, 12, 100)])
def test_the_deviate_of_a_chance_is_scipys(chance: float, freedom: int, tests: int) -> None:
    exact = stats.t.isf(chance / tests / 2, freedom)
    assert deviate_of(chance, freedom, tests) == pytest.approx(exact, rel=0.03)
    assert chance_of(deviate_of(chance, freedom, tests), freedom, tests) == pytest.approx(chance, rel=1e-6)


def test_a_zero_is_far_below_everything() -> None:
    found = estimate(np.zeros((4, 1)), np.zeros(1, dtype=np.int64), np.array([0.1]))
    assert found.values[0] == 0
    assert t_against(found, np.array([-30.0]))[0][0] < -100


# --- quantities


def test_quantities_of_the_closed_form() -> None:
    signal = Curves(healthy(1, scatter=0.0), record())
    found = {name: quantity.of(signal)[0] for name, quantity in QUANTITIES.items()}
    np.testing.assert_allclose(found["addition"][[2, 3, 5, 6]], 1.0, rtol=1e-9)
    np.testing.assert_allclose(found["branch_level"][1:], 1.0, rtol=1e-3)  # 0.6817 has four digits
    np.testing.assert_allclose(found["growth"][1:4], [1, 3 / 4, 4 / 6])
    np.testing.assert_allclose(found["reset"][4], 1.0)
    np.testing.assert_allclose(found["mean_shift"][1:], 0.3183 / 0.6817, rtol=0.01)
    assert np.isnan(found["reset"][[0, 1, 2, 3, 5, 6]]).all()


def test_a_doubling_signal_leaves_linear_growth() -> None:
    table = healthy(1, stages=(8,), scatter=0.0)
    table["channel_variance"] = 2.0 ** table["block"].astype(float)
    verdict = sppkit.check(table, policy="he-resnet")
    # 2^(k-1)/k passes 2 behind block 4; one seed needs some more to be sure.
    assert {finding.statistic for finding in verdict.errors} >= {"growth"}
    assert min(finding.block for finding in verdict.errors if finding.statistic == "growth") in {5, 6}


def test_healthy_variances_are_the_quadratures() -> None:
    for name, entry in ACTIVATIONS.items():
        assert entry.variance == pytest.approx(gaussian_moments(load_activation(name)).variance, rel=1e-5)


# --- policies


def test_every_architecture_has_a_preset_and_every_limit_a_reason() -> None:
    assert ARCHITECTURES.keys() <= PRESETS.keys()
    assert all(limit.reason for preset in PRESETS.values() for limits in preset.values() for limit in limits)


def test_a_healthy_network_passes() -> None:
    verdict = sppkit.check(healthy(), record=record())
    assert verdict.passed
    assert verdict.findings == ()
    assert verdict.judged == ("policy bn-relu-conv",)
    assert verdict.skipped == ("theory (this run holds no prediction)",)


# What is done to which block, what must be found first, and what its cause must name.
FAULTS = [
    ("residual_variance", 2.0, "branch_level", "initialization gain"),
    ("residual_variance", 0.25, "branch_level", "fan-out"),
    ("residual_variance", 0.0, "branch_level", "dead"),
    ("channel_squared_mean", 30.0, "mean_shift", "mean shifts"),
]


@pytest.mark.parametrize(("column", "factor", "statistic", "cause"), FAULTS)
def test_a_fault_is_found_without_a_baseline(column: str, factor: float, statistic: str, cause: str) -> None:
    verdict = sppkit.check(altered(healthy(), "blocks.2", column, factor), record=record())
    assert not verdict.passed
    assert verdict.exit_code == 1
    assert verdict.first is not None
    assert (verdict.first.name, verdict.first.statistic) == ("blocks.2", statistic)
    assert cause in verdict.first.cause


def test_values_that_are_not_finite_come_first() -> None:
    table = healthy()
    table.loc[table["name"] == "blocks.3", ["channel_variance", "channel_squared_mean"]] = np.nan
    table.loc[table["name"] == "blocks.3", "nonfinite"] = 7
    first = sppkit.check(table, record=record(dtype="float16")).first
    assert first is not None
    assert (first.statistic, first.name, first.found, first.limit) == ("nonfinite", "blocks.3", 7.0, 0.0)
    assert first.cause.startswith("its input is finite and far from overflowing")


def test_a_policy_of_ones_own_is_laid_over_the_preset() -> None:
    policy = load_policy({"channel_squared_mean": {"max": 1.0, "level": "warn"}}, "bn-relu-conv")
    assert policy.ratio("channel_squared_mean", "blocks.0") == (1.6, "error")
    verdict = sppkit.check(
        healthy(), policy={"channel_squared_mean": {"max": 1.0, "sites": "blocks.*"}}, record=record()
    )
    assert {finding.name for finding in verdict.errors} == {"blocks.2", "blocks.5"}
    assert verdict.first is not None
    assert verdict.first.limit == 1.0
    assert sppkit.check(healthy(), policy={"channel_variance": {"max": 1.0, "level": "warn"}}, record=record()).passed
    assert load_policy({"branch-level": {"level": "off"}}, "nf-resnet").limits["branch_level"] == ()


WRONG_POLICIES = [
    ("bn-relu-con", "unknown policy 'bn-relu-con'; did you mean 'bn-relu-conv'?"),
    ({"chanel_variance": {"max": 1}}, "unknown statistic 'chanel_variance'; did you mean 'channel_variance'?"),
    ({"channel_variance": {"maxi": 1}}, "unknown limit 'maxi'; did you mean 'max'?"),
    ({"channel_variance": {"max": 1, "min": 2}}, "can never pass: min 2 is above max 1"),
    ({"channel_variance": {"ratio": 0.5}}, "ratio must be more than 1"),
    ({"channel_variance": {"max": math.nan}}, "must be a finite number of at least 0, not nan"),
    ({"channel_variance": {"max": 10**400}}, "must be a finite number of at least 0"),
    ({"channel_variance": {"max": -1}}, "must be a finite number of at least 0, not -1"),
    ({"channel_variance": {}}, "limits nothing: give max, min, ratio or change"),
    ({"channel_variance": {"max": 1, "level": "fatal"}}, "level must be error, warn or off, not 'fatal'"),
    ({"channel_variance": {"max": 1, "sites": [1]}}, "sites must be patterns of block names"),
    ({"channel_variance": 3}, "must be a table of max, min"),
    ({"preset": 3}, "preset must be a text"),
    (3, "a policy must be a preset's name, a TOML file or a dict, not 3"),
]


@pytest.mark.parametrize(("policy", "message"), WRONG_POLICIES)
def test_a_wrong_policy_is_refused(policy: object, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        sppkit.check(healthy(), policy=policy)
    assert message in str(caught.value)


def test_a_policy_file(tmp_path: Any) -> None:
    file = tmp_path / "my.toml"
    file.write_text('preset = "any"\n[channel-variance]\nmax = 1.5\nreason = "mine"\n', encoding="utf-8")
    policy = load_policy(file, "bn-relu-conv")
    assert policy.name == "my.toml over any"
    first = sppkit.check(healthy(), policy=str(file)).first
    assert first is not None
    assert (first.name, first.reason) == ("blocks.1", "mine")
    file.write_text("x = [", encoding="utf-8")
    with pytest.raises(UsageError, match="not valid TOML"):
        load_policy(file, "any")


# --- theory


def predicted(table: pd.DataFrame, factor: float = 1.0, spread: float = 0.01) -> pd.DataFrame:
    told = table.copy()
    closed = healthy(1, scatter=0.0)
    for name in ("channel_variance", "channel_squared_mean", "residual_variance"):
        values = np.tile(closed[name].to_numpy(dtype=float), told["seed"].nunique())
        told[f"predicted_{name}"] = values * factor
        told[f"predicted_{name}_spread"] = values * spread
    return told


def test_agreement_with_theory_passes() -> None:
    verdict = sppkit.check(predicted(healthy()), record=record())
    assert verdict.passed
    assert verdict.judged == ("policy bn-relu-conv", "theory")
    assert verdict.skipped == ()


def test_disagreement_with_theory_fails_beyond_tolerance_and_chance() -> None:
    table = altered(predicted(healthy()), "blocks.4", "channel_variance", 1.5)
    found = [finding for finding in sppkit.check(table, record=record()).errors if finding.kind == "prediction"]
    assert [(finding.name, finding.statistic) for finding in found] == [("blocks.4", "channel_variance")]
    assert found[0].expected == pytest.approx(0.6817 * 3)
    assert found[0].ratio == pytest.approx(1.5, rel=0.03)
    assert found[0].limit == pytest.approx(0.6817 * 3 * 1.3)


def test_a_squared_mean_of_tiny_size_is_not_predicted() -> None:
    table = predicted(healthy())
    table["channel_squared_mean"] = 0.015 * table["channel_variance"]
    table["predicted_channel_squared_mean"] = 1e-4 * table["predicted_channel_variance"]
    assert not [item for item in sppkit.check(table, policy="any").errors if item.kind == "prediction"]
    table["channel_squared_mean"] *= 10
    found = [item for item in sppkit.check(table, policy="any").errors if item.kind == "prediction"]
    assert {item.statistic for item in found} == {"channel_squared_mean"}


def test_a_spread_that_theory_gives_too_small_is_not_believed() -> None:
    narrow = predicted(healthy(1), spread=1e-6)
    narrow["channels"], narrow["height"], narrow["width"] = 8, 2, 2
    table = altered(narrow, "blocks.4", "channel_variance", 1.4)
    assert not [item for item in sppkit.check(table, record=record()).findings if item.kind == "prediction"]


SCATTERING = [
    ({"norm": "none", "weights": "none"}, {}, False),
    ({"norm": "none", "weights": "ws"}, {}, False),
    ({"norm": "none", "weights": "scaled-ws"}, {}, True),
    ({"norm": "bn", "weights": "none"}, {}, True),
    ({"norm": "bn", "weights": "none"}, {"mode": "eval"}, False),
]


@pytest.mark.parametrize(("network", "more", "judged"), SCATTERING)
def test_theory_is_no_judge_where_one_seed_is_off_by_two(
    network: dict[str, str], more: dict[str, str], judged: bool
) -> None:
    table = altered(predicted(healthy()), "blocks.4", "channel_variance", 3.0)
    verdict = sppkit.check(table, policy="any", record=record(network=network, **more))
    assert ("theory" in verdict.judged) == judged
    assert any(item.kind == "prediction" for item in verdict.errors) == judged
    assert judged or verdict.skipped[-1] == "theory (without a normalizer or scaled-ws seeds scatter too much)"


def test_theory_is_no_judge_of_an_exploding_signal() -> None:
    table = predicted(healthy())
    for name in ("predicted_channel_variance", "channel_variance"):
        table[name] *= 8.0 ** table["block"].astype(float)
    network = {"norm": "none", "weights": "scaled-ws"}
    assert "theory" not in sppkit.check(table, policy="any", record=record(network=network)).judged


def test_a_prediction_that_knows_its_own_spread_is_not_held_against_chance() -> None:
    table = altered(predicted(healthy(1), spread=0.5), "blocks.4", "channel_variance", 1.5)
    assert not [finding for finding in sppkit.check(table, policy="any").errors if finding.kind == "prediction"]


# --- baselines


def test_other_seeds_pass_and_are_told() -> None:
    other = record(seeds=[10, 11, 12, 13])
    from sppkit.gate.baseline import Baseline

    verdict = sppkit.check(healthy(start=10), baseline=Baseline("b", healthy(), record(), {}), record=other)
    assert verdict.passed
    assert verdict.notices == ("seeds: 10 to 13 here, 0 to 3 in the baseline",)


# A squared mean ×2 takes its share from 0.3183 to 2 · 0.3183 / (1 + 0.3183).
UNPAIRED = [
    ("channel_variance", "channel_variance", 2.0),
    ("residual_variance", "residual_variance", 2.0),
    ("channel_squared_mean", "mean_share", 2 / 1.3183),
]


@pytest.mark.parametrize(("column", "quantity", "ratio"), UNPAIRED)
def test_a_change_is_found_against_other_seeds(column: str, quantity: str, ratio: float) -> None:
    table = altered(healthy(start=10), "blocks.4", column, 2.0)
    found = [finding for finding in sppkit.check(table, baseline=healthy()).errors if finding.kind == "baseline"]
    assert {finding.name for finding in found} == {"blocks.4"}
    assert quantity in {finding.statistic for finding in found}
    found = [finding for finding in found if finding.statistic == quantity]
    assert found[0].ratio == pytest.approx(ratio, rel=0.05)
    assert found[0].chance is not None


def test_a_change_below_the_tolerance_passes_however_certain() -> None:
    table = altered(healthy(start=10, scatter=1e-6), "blocks.4", "channel_variance", 1.15)
    assert sppkit.check(table, baseline=healthy(scatter=1e-6), policy="any").passed


def test_a_change_that_seeds_explain_passes_however_large() -> None:
    table = altered(healthy(start=10, scatter=0.6), "blocks.4", "channel_variance", 1.3)
    assert sppkit.check(table, baseline=healthy(scatter=0.6), policy="any").passed


def test_a_vanished_block_fails_and_a_new_one_is_told() -> None:
    fewer = healthy()
    fewer = fewer[fewer["name"] != "blocks.5"]
    verdict = sppkit.check(fewer, baseline=healthy())
    assert [(finding.name, finding.statistic) for finding in verdict.errors] == [("blocks.5", "sites")]
    assert "removed, renamed" in verdict.errors[0].cause
    verdict = sppkit.check(healthy(), baseline=fewer)
    assert verdict.passed
    assert verdict.notices == ("new, and not in the baseline: blocks.5",)


def test_a_statistic_that_is_no_longer_measured_fails() -> None:
    table = healthy()
    table["residual_variance"] = np.nan
    errors = sppkit.check(table, baseline=healthy()).errors
    assert errors[0].cause == "residual_variance is in the baseline and was not measured: add it to --stats"


def test_a_branch_that_is_gone_fails() -> None:
    table = healthy()
    table.loc[table["name"] == "blocks.3", "residual_variance"] = np.nan
    verdict = sppkit.check(table, baseline=healthy())
    assert [(finding.name, finding.statistic) for finding in verdict.errors] == [("blocks.3", "residual_variance")]
    assert verdict.errors[0].cause.endswith("its branch or its addition is gone")


def test_a_further_column_that_can_be_negative_is_left_alone() -> None:
    table = healthy()
    table["skewness"], table["kurtosis"] = -1.0, 3.0
    assert Curves(table, {}).statistics == ["channel_squared_mean", "channel_variance", "residual_variance", "kurtosis"]


def test_renamed_blocks_are_matched() -> None:
    table = altered(healthy(start=10), "blocks.4", "channel_variance", 2.0)
    table["name"] = table["name"].str.replace("blocks.", "layer", regex=False)
    verdict = sppkit.check(table, baseline=healthy())
    assert {finding.name for finding in verdict.errors} == {"layer4"}
    assert verdict.notices[0].startswith("renamed, and compared under the new name: blocks.0 is now layer0")


def test_matching_sites() -> None:
    base = [("stem", 8.0), ("a", 32.0), ("b", 32.0), ("c", 64.0)]
    same = match_sites(base, base)
    assert (same.renamed, same.new, same.vanished) == ((), (), ())
    wider = match_sites([("stem", 8.0), ("a", 32.0), ("b", 48.0), ("c", 64.0)], base)
    assert (wider.renamed, wider.new, wider.vanished) == ((), (2,), (2,))
    inserted = match_sites([*base[:2], ("x", 32.0), *base[2:]], base)
    assert (inserted.new, inserted.vanished) == ((2,), ())


def test_a_smaller_mean_is_an_improvement() -> None:
    # A share of 0.32 becomes 0.82, and falls back.
    shifted = altered(healthy(), "blocks.4", "channel_squared_mean", 10)
    verdict = sppkit.check(healthy(start=10), baseline=shifted)
    assert verdict.passed
    assert verdict.notices[0].startswith(
        "improvement: the squared mean fell from blocks.4 on (1 of 7 blocks), most at blocks.4"
    )


def test_noise_in_a_mean_near_zero_is_no_change() -> None:
    # Below 4/n + 1/C of the variance: twenty times more of it is still nothing.
    base, table = healthy(), healthy(start=10)
    base["channel_squared_mean"] *= 1e-6
    table["channel_squared_mean"] *= 2e-5
    assert sppkit.check(table, baseline=base, policy="any").passed


def test_exact_finds_the_ninth_digit() -> None:
    assert sppkit.check(healthy(), baseline=healthy(), exact=True).passed
    verdict = sppkit.check(altered(healthy(), "blocks.4", "channel_variance", 1 + 2e-8), baseline=healthy(), exact=True)
    assert [(finding.name, finding.kind, finding.seeds) for finding in verdict.errors] == [("blocks.4", "exact", 4)]
    assert "--exact needs the same seeds" in sppkit.check(healthy(start=1), baseline=healthy(), exact=True).missing


INCOMPARABLE = [
    ({"mode": "eval"}, "mode: eval here, train in the baseline"),
    ({"dtype": "float16"}, "dtype: float16 here, float32 in the baseline"),
    ({"input": {"kind": "pictures", "batch_shape": [8, 3, 224, 224]}}, "kind of input: pictures here"),
    ({"input": {"kind": "gaussian", "batch_shape": [8, 3, 64, 64]}}, "shape of a sample: 3×64×64 here"),
    ({"network": {"alpha": 0.5}}, "alpha: 0.5 here, 1.0 in the baseline"),
    ({"arch": "nf-resnet"}, "arch: nf-resnet here"),
    ({"options": {"model": {"value": "a:b", "source": "flag"}}}, "--model: a:b here, c:d in the baseline"),
]


@pytest.mark.parametrize(("change", "message"), INCOMPARABLE, ids=lambda value: str(value)[:30])
def test_runs_that_asked_different_questions_are_not_compared(change: dict[str, Any], message: str) -> None:
    from sppkit.gate.baseline import Baseline

    base = Baseline("b", healthy(), record(options={"model": {"value": "c:d", "source": "flag"}}), {})
    verdict = sppkit.check(healthy(), baseline=base, record=record(**change), policy="any")
    assert (verdict.exit_code, verdict.passed) == (3, False)
    assert message in verdict.missing


def asked(**values: Any) -> dict[str, Any]:
    return {"options": {name: {"value": value, "source": "flag"} for name, value in {"seed": 0, **values}.items()}}


WEIGHTS = {"file": "w.pt", "sha256": "a" * 64}
# What one run says, what the other says, and what makes them two questions ("" for nothing).
ASKED = [
    (asked(theory=False), asked(theory=True), ""),
    (asked(), asked(theory=True, sites=None, reinit=None, checkpoint=None, model=None, kw=None), ""),
    (asked(), asked(reinit="keyed"), "--reinit: None here, keyed in the baseline"),
    (asked(sites="a.toml"), asked(), "--sites: a.toml here, None in the baseline"),
    (asked(model="a:b", kw={"n": 1}), asked(model="a:b", kw={"n": 2}), "--kw n: 1 here, 2 in the baseline"),
    (asked(of_a_later_version=False), asked(), ""),
    (asked(checkpoint="a/w.pt") | {"checkpoint": WEIGHTS}, asked(checkpoint="b.pt") | {"checkpoint": WEIGHTS}, ""),
    (
        asked(checkpoint="w.pt") | {"checkpoint": WEIGHTS},
        asked(),
        "checkpoint: aaaaaaaaaaaa here, none in the baseline",
    ),
    (asked(checkpoint="w.pt") | {"checkpoint": WEIGHTS}, asked(checkpoint="w.pt"), ""),
    (asked(checkpoint="w.pt") | {"checkpoint": WEIGHTS}, {}, ""),
]


@pytest.mark.parametrize(("new", "base", "told"), ASKED)
def test_what_was_asked_of_the_users_own_model(new: dict[str, Any], base: dict[str, Any], told: str) -> None:
    assert list(iter_incomparable(new, base)) == ([told] if told else [])


def test_another_batch_size_is_only_told() -> None:
    from sppkit.gate.baseline import Baseline

    shapes = {"kind": "gaussian", "batch_shape": [4, 3, 224, 224], "batches": 1}
    verdict = sppkit.check(healthy(), baseline=Baseline("b", healthy(), record(), {}), record=record(input=shapes))
    assert verdict.passed
    assert verdict.notices == ("batch size: 4 here, 8 in the baseline",)


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(UsageError, match="must be a DataFrame"):
        sppkit.check([1])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="has no column 'channel_variance'"):
        sppkit.check(healthy().drop(columns="channel_variance"))
    with pytest.raises(UsageError, match="no rows"):
        sppkit.check(healthy().iloc[:0])
    with pytest.raises(UsageError, match="a baseline must be a file"):
        sppkit.check(healthy(), baseline=3)


def test_findings_are_ordered_and_say_what_follows() -> None:
    table = healthy()
    for name in ("blocks.2", "blocks.3", "blocks.4"):
        table = altered(table, name, "residual_variance", 4.0)
    verdict = sppkit.check(table, record=record())
    assert [finding.block for finding in verdict.errors] == sorted(finding.block for finding in verdict.errors)
    assert verdict.first is verdict.errors[0]
    assert {finding.cause for finding in verdict.errors[1:]} == {"follows from the first"}
    assert preset_policy("any").name == "any"
