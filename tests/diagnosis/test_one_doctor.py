"""One fault, one verdict: plot's summary, check and diagnose see the same block and give the same cause."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import sppkit
from sppkit.comparison.runs import Measured
from sppkit.comparison.score import score_table
from sppkit.comparison.suggestion import Outcome
from sppkit.curves.curves import Curves
from sppkit.diagnosis.examine import is_fault
from sppkit.diagnosis.summary import iter_findings
from sppkit.models.spec import build_spec, describe
from sppkit.prediction.predict import Setting, borderless_residual_variance, predict_spec, why_unpredicted

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.gate.faults import FAULTS, Fault

if TYPE_CHECKING:
    import pandas as pd

SEEDS = [0, 1]
# Without a baseline, and without a record that says what the network should be, these look like another network.
UNSEEN = {
    "ReLU made tanh, its gain kept",
    "a user's normalizer dropped in one block",
    "a user's activation missing",
    "a user's gain of 2",
    "a user's skip missing",
    "a user's normalizers stuck in eval",
    "a user's bias of 2",
}


def marked(table: pd.DataFrame, record: dict[str, Any]) -> list[str]:
    """What plot's summary marks as doubtful or bad."""
    lines = [item.one_line.plain for item in iter_findings(Curves(table, record))]
    return [line for line in lines if line[:4] in {"WARN", "BAD "}]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_has_one_verdict(fault: Fault) -> None:
    torch.manual_seed(0)
    table, record = fault.case.measure(SEEDS, fault.plant), fault.case.record(SEEDS)
    first = sppkit.check(table, record=record).first
    faults = sorted(filter(is_fault, sppkit.diagnose(table, record)), key=lambda item: item.block)
    lines = marked(table, record)
    assert (first is None) == (not faults) == (not lines) == (fault.name in UNSEEN)
    if first is not None:
        assert (first.block, first.cause) == (faults[0].block, faults[0].cause)
        assert fault.block <= first.block <= fault.block + 1
        assert any(first.cause in line and first.name in line for line in lines)


HEALTHY: list[dict[str, Any]] = [
    *({"arch": "bn-relu-conv", "norm": norm} for norm in ("bn", "ln", "gn", "in", "ibn-a", "bcn", "bkn", "ic")),
    *({"arch": "relu-bn-conv", "norm": norm} for norm in ("bn", "ln", "gn")),
    *({"arch": "bn-relu-conv", "activation": name} for name in ("gelu", "silu", "sigmoid", "tanh", "tanhshrink")),
    *({"arch": "nf-resnet", "activation": name} for name in ("relu", "gelu", "silu", "tanh", "sigmoid", "hardtanh")),
    *({"arch": "bn-relu-conv", "add_on": f"selfnorm@{where}"} for where in ("residual", "identity", "post")),
    {"arch": "bn-relu-conv", "norm": "ibn-b"},
    {"arch": "bn-relu-conv", "se": True},
    {"arch": "bn-relu-conv", "weights": "ws"},
    {"arch": "relu-bn-conv", "init": "he"},
    {"arch": "relu-bn-conv", "gain": 2.0, "skip_gain": -1.0},
    {"arch": "nf-resnet", "se": True},
    {"arch": "nf-resnet", "alpha": 1.0, "block": "basic"},
    *({"arch": arch} for arch in ("skipinit", "fixup")),
    {"arch": "nf-regnet", "variant": "b0", "depth": None},
    # Down to maps of one position, where the border takes eight of nine taps and a channel has few values.
    *({"arch": "bn-relu-conv", "block": "basic", "norm": name, "size": 32} for name in ("bn", "ibn-a", "bkn")),
    {"arch": "bn-relu-conv", "norm": "bkn", "size": 32},
]


@pytest.mark.parametrize("options", HEALTHY, ids=lambda options: " ".join(map(str, options.values())))
def test_a_healthy_network_is_healthy_for_all(options: dict[str, Any]) -> None:
    table, record = measured(**options)
    check_healthy(table, record)
    size = options.get("size", SIZE)
    spec, setting = build(**options), Setting(size, size, SAMPLES)
    if why_unpredicted(spec, setting) is None:
        expected = predict_spec(spec, setting).set_index("block")
        names = [name for name in expected.columns if name.startswith("predicted_")]
        check_healthy(
            table.assign(**{name: table["block"].map(expected[name]).astype("float64") for name in names}), record
        )


def check_healthy(table: pd.DataFrame, record: dict[str, Any]) -> None:
    assert [item.text for item in sppkit.diagnose(table, record) if is_fault(item)] == []
    verdict = sppkit.check(table, record=record)
    assert (verdict.findings, verdict.passed) == ((), True)
    assert marked(table, record) == []
    assert Outcome(Measured("x", "x", table, record), score_table(table)).is_healthy


SAMPLES, SIZE = 8, 64
_MEASURED: dict[str, tuple[pd.DataFrame, dict[str, Any]]] = {}


def build(**options: Any) -> Any:
    own = {name: value for name, value in options.items() if name not in {"arch", "size"}}
    return build_spec(options["arch"], {"depth": 26, "width": 0.25} | own)


def measured(**options: Any) -> tuple[pd.DataFrame, dict[str, Any]]:
    key = repr(options)
    if key not in _MEASURED:
        spec = build(**options)
        own = {name: value for name, value in options.items() if name != "size"}
        model = sppkit.build_model(seed=0, **({"depth": 26, "width": 0.25} | own))
        size = options.get("size", SIZE)
        x = torch.randn(SAMPLES, 3, size, size, generator=torch.Generator().manual_seed(0))
        record = {
            "arch": options["arch"],
            "mode": "train",
            "dtype": "float32",
            "network": describe(spec),
            "expected": {"residual_variance": borderless_residual_variance(spec)},
            "input": {"kind": "gaussian", "batch_shape": list(x.shape), "batches": 1},
        }
        _MEASURED[key] = sppkit.measure(model, x, mode="train", seed=0), record
    return _MEASURED[key]


def test_a_policy_that_says_otherwise_is_obeyed() -> None:
    table, record = measured(arch="relu-bn-conv")
    table = table.assign(channel_squared_mean=1.5 * table["channel_variance"])
    first = sppkit.check(table, record=record).first
    assert first is not None
    assert (first.statistic, first.block) == ("mean_shift", 1)
    assert sppkit.check(table, record=record, policy={"mean_shift": {"level": "off"}}).passed
    assert sppkit.check(table, record=record, policy={"mean_shift": {"max": 3.0}}).passed


def test_what_only_a_rule_sees_fails_the_check_as_it_marks_the_plot() -> None:
    # Gains that are 16 % off: the first block is within its limit, and all of them together tell.
    table, record = measured(arch="nf-resnet", gain=1.712859 * 1.16, padding="circular")
    [fault] = filter(is_fault, sppkit.diagnose(table, record))
    first = sppkit.check(table, record=record).first
    assert first is not None
    assert (fault.name, fault.block, first.block, first.level) == ("wrong-gain", 1, 1, "error")
    assert first.cause == fault.cause
