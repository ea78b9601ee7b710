"""A small part of the gate's error rates in users' models: ``python -m benchmarks.gate_users`` measures the rest."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.gate_users import refactorings, store  # noqa: E402
from benchmarks.gate_users.causes import judge_cause  # noqa: E402
from benchmarks.gate_users.faults import FAULTS  # noqa: E402
from benchmarks.gate_users.faults.fault import some  # noqa: E402
from benchmarks.gate_users.harmless import measure_changed  # noqa: E402
from benchmarks.gate_users.interface import as_baseline, judge  # noqa: E402
from benchmarks.gate_users.networks import NETWORKS  # noqa: E402
from benchmarks.gate_users.report import render_faults, render_harmless  # noqa: E402
from benchmarks.gate_users.trial import clean, first_changed, plant, try_fault  # noqa: E402
from benchmarks.gate_users.truth import Point, compare, listen, moments  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

RESNET, GPT = NETWORKS["pre-activation BN ResNet"], NETWORKS["GPT"]


@pytest.fixture(scope="module", autouse=True)
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the tests measure is theirs: a folder of yesterday's tables would hide a gate that measures otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "FOLDER", tmp_path_factory.mktemp("tables"))
        yield


def try_on(network: Any, kind: str, strength: float) -> dict[str, Any]:
    row = try_fault(network, FAULTS[kind], strength)
    assert row is not None
    return row


@pytest.mark.parametrize(
    ("network", "kind", "strength"),
    [
        (RESNET, "branch × s in every block", 2.0),
        (RESNET, "normalizers missing", 3),
        (RESNET, "activation + c in every block", 0.3),
        (GPT, "a block's output × s", 4.0),
        (GPT, "GELU made ReLU", 99),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_fault_that_matters_is_caught_and_located(network: Any, kind: str, strength: float) -> None:
    row = try_on(network, kind, strength)
    assert row["matters"], row
    assert row["exit"] == 1, row
    assert row["located"] or row["begins"], row


@pytest.mark.parametrize("kind", ["the addition the other way round", "a layer more is built first"])
def test_what_computes_the_same_passes(kind: str) -> None:
    refactoring = next(item for item in refactorings.KEEPS if item.kind == kind)
    changed = measure_changed(GPT, refactoring, 0)
    assert changed is not None
    assert judge(changed, as_baseline(clean(GPT))).exit_code == 0


def test_a_fault_that_moves_nothing_is_known_as_such() -> None:
    row = try_on(GPT, "the branch is detached", 99)
    assert not row["matters"]
    assert row["size"] == 0


def test_a_fault_does_not_show_in_the_record() -> None:
    planted = plant(RESNET, FAULTS["branch × s in every block"], 2.0).measured
    assert planted is not None
    assert planted.record["options"] == clean(RESNET).record["options"]


def test_the_first_changed_row_is_the_faulty_block() -> None:
    planted = plant(RESNET, FAULTS["a bias in one block's normalizers"], 1.0).measured
    assert planted is not None
    # The middle one of four blocks is the third; row 0 is the stem.
    assert first_changed(planted.table, clean(RESNET).table) == 3
    assert first_changed(clean(RESNET).table, clean(RESNET).table) is None


def test_moments_are_those_of_channels() -> None:
    x = torch.tensor([[[[1.0, 3.0]], [[5.0, 5.0]]]])  # two channels of two pixels: means 2 and 5, variances 1 and 0
    assert moments(x) == ((4 + 25) / 2, 0.5)
    assert moments(x[0].transpose(0, 2).transpose(0, 1)) == ((4 + 25) / 2, 0.5)


@pytest.mark.parametrize(
    ("faulty", "statistic", "size"),
    [
        (Point(1.0, 2.0, 1.0, 1.0, 1.0), "variance", math.log(2) / math.log(1.25)),
        (Point(0.25, 1.0, 1.0, 0.0, 1.0), "share", (0.5 - 0.2) / 0.1),
        (Point(1.0, 1.0, 0.5, 0.5, 1.0), "branch", math.log(2) / math.log(1.25)),
        (Point(1.0, 1.0, 1.0, 0.5, 1.0), "addition", 0.5 / 0.25),
    ],
)
def test_what_matters_is_told_by_hand(faulty: Point, statistic: str, size: float) -> None:
    sound = Point(1.0, 1.0, 1.0, 0.0, 1.0)
    if statistic == "variance":
        faulty = faulty._replace(mean=2.0)
    found = compare([[sound]], [[faulty]])
    assert (found.statistic, found.matters) == (statistic, True)
    assert found.size == pytest.approx(size)
    assert compare([[sound]], [[sound]]).size == 0


def test_truth_hears_what_a_block_adds() -> None:
    points = listen(RESNET, 0, None)
    assert len(points) == 5  # what the first block is given, and four additions
    heard = clean(RESNET).table.query("seed == 0")
    assert [point.variance for point in points] == pytest.approx(list(heard["channel_variance"]), rel=1e-4)
    assert [point.branch for point in points[1:]] == pytest.approx(list(heard["residual_variance"])[1:], rel=1e-4)


def test_causes_are_judged_by_what_they_name() -> None:
    assert judge_cause("the mean shifts: a bias is not 0", ("bias",)) == "right"
    assert judge_cause("the mean shifts: a bias is not 0", ("pool",)) == "wrong"
    assert judge_cause("it is 2.3 times what it was", ("pool",)) == "absent"


@pytest.mark.parametrize(("count", "expected"), [(1, [2]), (2, [1, 2]), (3, [1, 2, 3]), (99, [0, 1, 2, 3])])
def test_blocks_are_taken_around_the_middle(count: int, expected: list[int]) -> None:
    assert list(some(range(4), count)) == expected


def test_there_are_as_many_as_promised() -> None:
    assert len(FAULTS) >= 30
    assert all(len(set(fault.strengths)) == 4 for fault in FAULTS.values())
    assert len(NETWORKS) >= 12
    for network in NETWORKS.values():
        model = network.build()
        assert 4 <= len(network.blocks(model)) <= 9
        assert all(isinstance(block, nn.Module) for block in network.blocks(model))


def test_pages_are_written() -> None:
    row = try_on(RESNET, "normalizers missing", 3)
    assert "| normalizers missing | 3 | 0/0 | 0/0 | 1/1 | 0/0 |" in render_faults([row])
    alarm = {"network": "a", "kind": "b", "seeds": "same", "comparisons": 5, "alarms": 1, "told": {"x": 1}}
    assert "| all | 5 | 1 | 0 | 0 |" in render_harmless([alarm])
