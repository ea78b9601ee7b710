"""What ``python -m benchmarks`` does on a GPU, on the CPU as far as it can be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import sppkit

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import cuda, report  # noqa: E402


def test_without_a_gpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert list(cuda.measure_all(quick=True)) == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_contenders_are_measured_in_turn_and_shown(dtype: str) -> None:
    network = sppkit.build_model("nf-resnet", stages=(1, 1), width=0.125).to(getattr(torch, dtype))
    case = {"arch": "nf-resnet", "depth": 6, "width": 0.125, "batch": 2, "pixels": 32, "dtype": dtype, "rounds": 2}
    found = cuda.measure_case(case, network, torch.device("cpu"))
    assert found["bare_seconds"] > 0
    assert {name: sorted(ratio) for name, ratio in found["ratio"].items()} == {
        name: ["max", "median", "min"] for name in ("sppkit", "naive")
    }
    rows = report._overhead([found]).splitlines()
    assert rows[0] == "| network | input | bare forward | sppkit | naive |"
    assert rows[2].startswith(f"| nf-resnet-6, width 0.125 | 2×3×32×32, {dtype} | 0.")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_measured_in_graphs_as_well() -> None:
    for case in cuda.measure_network("bn-relu-conv", torch.device("cuda"), quick=True):
        assert {"sppkit", "naive", "bare graph", "sppkit graph"} <= set(case["ratio"])
        assert case["graph"]["median"] > 0
