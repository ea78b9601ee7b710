"""A small part of the gate's error rates: ``python -m benchmarks.gate`` measures the rest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.gate import agreement, harmless, report  # noqa: E402
from benchmarks.gate import results as results_file  # noqa: E402
from benchmarks.gate.faults import FAULTS, Fault, run_fault  # noqa: E402

if TYPE_CHECKING:
    import pandas as pd

BASES: dict[str, pd.DataFrame] = {}


def base(fault: Fault) -> pd.DataFrame:
    if fault.case.name not in BASES:
        BASES[fault.case.name] = fault.case.measure([0, 1, 2, 3])
    return BASES[fault.case.name]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found_located_and_explained(fault: Fault) -> None:
    found = run_fault(fault, base(fault), [0, 1, 2, 3])
    assert found["exit"] == 1
    assert found["located"], found
    assert found["explained"], found["cause"]


def test_there_are_as_many_faults_as_promised() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 24


def test_harmless_changes_pass() -> None:
    rows = list(harmless.measure_all(quick=True))
    assert {row["kind"] for row in rows} == {kind.name for kind in harmless.KINDS}
    assert [row for row in rows if row["exit"]] == []


def test_photographs_pass_by_policy() -> None:
    assert [row["exit"] for row in harmless.pictures_allowed()] == [0, 0, 0]


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return results_file.read(ROOT / "benchmarks/gate/results.json")


def test_the_page_shows_the_results(results: dict[str, Any]) -> None:
    page = (ROOT / "docs/gate-proof.md").read_text(encoding="utf-8")
    assert report.render_page(page, results) == page


def test_the_results_are_no_missed_fault_and_no_false_alarm(results: dict[str, Any]) -> None:
    assert [row for row in results["faults"] if row["exit"] != 1] == []
    assert len(results["harmless"]) >= 3000
    assert [row for row in results["harmless"] if row["exit"] != 0] == []
    assert [row for row in results["agreement"] if row["alarms"]] == []


def test_healthy_networks_agree_with_theory() -> None:
    rows = [row for index in agreement.QUICK for row in agreement.judge(agreement.draw(index))]
    assert sum(row["judged"] for row in rows) >= len(agreement.QUICK)
    assert [row for row in rows if row["alarms"]] == []


def test_theory_alone_finds_faults() -> None:
    found = [run_fault(fault, base(fault), [0, 1, 2, 3]) for fault in FAULTS[::9] if fault.case.arch]
    assert all(row["theory_alone"] for row in found)
