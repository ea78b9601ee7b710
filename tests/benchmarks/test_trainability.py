"""What the verdict is held against: networks that differ, trained as recorded."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import sppkit  # noqa: E402
from benchmarks.trainability import measure, proof, train, verdicts  # noqa: E402
from benchmarks.trainability.cases import Case, cases, find_case, is_fitted, is_fresh  # noqa: E402
from benchmarks.trainability.data import ALPHABET, blind_loss, loss_that_counts, sample, text  # noqa: E402
from sppkit.gate.verdict import Finding, Verdict  # noqa: E402

# Cheap, and clear: all but one of the runs at Adam's 3e-3 agree by more than chance could undo.
LEARN = ("mlp-he-3", "mlp-pre-norm-4", "resnet-bn-3", "alpha-he-0.3", "mixer-no-skip-2", "recurrent-1.0", "mlp-selu-4")
DO_NOT = (
    "mlp-normal-weights-8",
    "plain-negative-bias-3.0",
    "mlp-softmax-units-6",
    "plain-gain-4.0",
    "mlp-tanh-gain-4.0",
)


def test_cases_differ_in_name_and_are_of_many_kinds() -> None:
    names = [case.name for case in cases()]
    assert len(names) == len(set(names)) >= 120
    assert len({case.kind for case in cases()}) >= 50
    fitted = {case.kind for case in cases() if is_fitted(case)}
    held_out = {case.kind for case in cases() if not is_fitted(case) and not is_fresh(case)}
    assert not fitted & held_out
    assert abs(len(fitted) - len(held_out)) <= 1


@pytest.mark.parametrize("kind", sorted({case.kind for case in cases()}))
def test_the_first_of_a_kind_answers_one_batch(kind: str) -> None:
    case = next(case for case in cases() if case.kind == kind)
    inputs, labels = sample(case.data, 2, torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = case.build(0)(inputs)
    assert logits.shape == (*labels.shape, len(ALPHABET) if case.data == "text" else 10)


def test_a_seed_is_a_network() -> None:
    first, again, other = (find_case("nf-resnet-2").build(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_what_counts_as_learnt_is_below_every_blind_guess() -> None:
    # 1,797 digits, 174 to 183 of each: their entropy is ln 10 but for the third digit.
    assert blind_loss("image") == pytest.approx(math.log(10), rel=1e-3)
    counts = torch.bincount(text()).double()
    shares = counts[counts > 0] / counts.sum()
    assert blind_loss("text") == pytest.approx(float((shares * -shares.log()).sum()), rel=1e-6)
    for kind in ("image", "flat", "text"):
        assert loss_that_counts(kind) < 0.95 * blind_loss(kind)


def _recorded_cases() -> list[Case]:
    return [case for case in cases() if train.is_on_record(case)]


def test_records_are_of_cases_and_enough_of_them_have_every_setting() -> None:
    assert len(train.SETTINGS) == 5
    assert set(train.results()) <= {case.name for case in cases()}
    assert len(_recorded_cases()) == len(cases())
    assert len([case for case in cases() if train.is_on_record(case, train.SEEDS)]) == len(cases())


def test_many_of_what_is_on_record_are_sick_and_many_at_the_edge() -> None:
    recorded = _recorded_cases()
    trained = [train.trains(case) for case in recorded]
    assert 0.3 < sum(trained) / len(trained) < 0.8
    edge = [case for case in recorded if train.trains(case) and train.working_settings(case) < 2.5]
    assert len(edge) >= 20


@pytest.mark.parametrize("name", LEARN)
def test_what_learns_on_record_learns(name: str) -> None:
    found = train.run(find_case(name), "adam-3e-3", 0)
    assert train.working_settings(find_case(name)) >= 3
    assert found["loss"] < loss_that_counts("image")


@pytest.mark.parametrize("name", DO_NOT)
def test_what_does_not_learn_on_record_does_not(name: str) -> None:
    assert not train.trains(find_case(name))
    found = train.run(find_case(name), "adam-3e-3", 0, steps=40)
    assert found["loss"] is None or found["loss"] > 1.5 * loss_that_counts("image")


@pytest.mark.parametrize("name", [*LEARN, *DO_NOT])
def test_the_verdict_agrees_with_training(name: str) -> None:
    case = find_case(name)
    for source in measure.INPUTS:
        assert sppkit.check(measure.measure_case(case, source)).passed == (name in LEARN)


def test_the_page_of_the_error_rate_counts_and_sorts() -> None:
    learns, slow, never = (find_case(name) for name in ("mlp-he-3", "mlp-he-60", "gpt-no-skip-12"))
    judged = [
        verdicts.Judged(learns, "real", True, 0.0, True, 5, ""),
        verdicts.Judged(slow, "real", False, -101.0, True, 0, "growth at a"),
        verdicts.Judged(never, "real", True, -2.0, False, 0, "growth at a"),
    ]
    assert [proof.family(each) for each in judged] == ["MLP", "MLP", "transformer"]
    assert [proof.is_edge(each) for each in judged] == [False, True, False]
    lines = "\n".join([*proof._iter_families(judged), *proof._iter_wrong(judged)])
    assert "| MLP | 2 | 1/2 (50%) | 1/2 (50%) | 0/0 |" in lines
    assert "- learn, and fail: `mlp-he-60`" in lines
    assert "- don't learn, and pass with a warning: `gpt-no-skip-12`" in lines
    assert proof._place(judged[1]) < 0 < proof._place(judged[2]) < proof._place(judged[0])


def _recorded(monkeypatch: pytest.MonkeyPatch, *runs: tuple[str, int, float | None, int]) -> Case:
    case = find_case("mlp-he-3")
    lines = [
        {"case": case.name, "setting": setting, "seed": seed, "loss": loss, "budget": budget}
        for setting, seed, loss, budget in runs
    ]
    monkeypatch.setattr(train, "results", lambda: {case.name: lines})
    return case


def test_slow_is_not_sick_but_counts_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    case = _recorded(monkeypatch, ("adam-3e-3", 0, 2.0, train.STEPS), ("adam-3e-3", 0, 1.0, train.LONGER))
    assert train.trains(case)
    assert train.working_settings(case) == 0


def test_settings_are_averaged_over_seeds_and_a_broken_run_learnt_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = train.STEPS
    runs = [("adam-3e-3", 0, 1.0, steps), ("adam-3e-3", 1, 1.0, steps), ("sgd-0.1", 0, 1.1, steps)]
    case = _recorded(monkeypatch, *runs, ("sgd-0.1", 1, None, steps), ("sgd-0.01", 0, 0.9, steps))
    assert train.working_settings(case) == 1 + 0.5 + 1


def test_training_is_resumed_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "RESULTS", tmp_path / "results.jsonl")
    monkeypatch.setattr(train, "SETTINGS", {"adam-1e-2": train.SETTINGS["adam-1e-2"]})
    monkeypatch.setattr(torch, "set_flush_denormal", lambda _: True)  # other tests need them
    train.train("mlp-tanh-shallow-1.0")
    first = (tmp_path / "results.jsonl").read_text().splitlines()
    train.train("mlp-tanh-shallow-1.0")
    assert (tmp_path / "results.jsonl").read_text().splitlines() == first
    assert '"environment"' in first[0]
    assert len(first) == 1 + len(train.SEEDS)
    assert "2/2 mlp-tanh-shallow-1.0 adam-1e-2 seed 1: " in capsys.readouterr().out


def _finding(level: str, ratio: float) -> Finding:
    return Finding(
        statistic="growth", name="a", block=1, limit=1.0, expected=None, found=ratio, ratio=ratio, level=level
    )


def test_the_score_falls_from_sound_to_warned_to_failed() -> None:
    verdict = [
        Verdict(findings=findings)
        for findings in (
            (),
            (_finding("warn", 1.5),),
            (_finding("warn", 9.0),),
            (_finding("error", 2.0), _finding("warn", 9.0)),
            (_finding("error", 1e300),),
        )
    ]
    scores = [verdicts.score(each) for each in verdict]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)


def test_rank_correlation_is_spearmans() -> None:
    judged = [
        verdicts.Judged(find_case("mlp-he-3"), "real", True, score, True, working, "")
        for score, working in ((1, 2), (3, 2), (2, 5), (4, 4))
    ]
    # Ranks 1, 3, 2, 4 and 1.5, 1.5, 4, 3: covariance 1 over sqrt(5 * 4.5).
    assert verdicts.rank_correlation(judged) == pytest.approx(1.0 / math.sqrt(5 * 4.5))


def test_tables_come_back_as_they_were_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tables.csv.gz"
    measure.measure_all(path, "mlp-narrow-12")
    tables = measure.read_tables(path)
    assert set(tables) == {
        (case.name, source) for case in cases() if case.name.startswith("mlp-narrow-12") for source in measure.INPUTS
    }
    pd.testing.assert_frame_equal(
        tables["mlp-narrow-12", "real"],
        measure.measure_case(find_case("mlp-narrow-12"), "real"),
        check_dtype=False,
        rtol=1e-12,
    )
    assert f"{len(tables)} tables" in capsys.readouterr().out
    report = verdicts.report(path)
    assert report.startswith("gaussian input\nall kinds: ")
    assert "real input\nall kinds: " in report
