"""What ``python -m benchmarks`` does on a GPU, on the CPU as far as it can be."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sppkit

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import cuda, gpu, report  # noqa: E402


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


def test_the_script_for_a_gpu_says_in_one_line_that_there_is_none(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable, "OUT": str(tmp_path / "results"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(["bash", ROOT / "benchmarks/gpu.sh"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "gpu.sh: torch finds no CUDA device here; run it on a machine with a GPU.\n"
    assert not (tmp_path / "results").exists()


def test_the_script_for_a_gpu_names_what_is_missing(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text('#!/bin/sh\necho "pandas pytest"\n', encoding="utf-8")
    bare.chmod(0o755)
    done = subprocess.run(
        ["bash", ROOT / "benchmarks/gpu.sh"], env={**os.environ, "PYTHON": str(bare)}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"gpu.sh: {bare} has no pandas pytest; name another:")


def test_what_the_script_measures_is_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    here, late = torch.device("cpu"), []
    monkeypatch.setattr(gpu, "SIZES", ((12, 0.1, 32, 2),))
    monkeypatch.setattr(gpu, "ROUNDS", 1)
    assert list(gpu.costs(here, 0, late)) == []
    assert late == [f"{arch}-12, width 0.1, 2×3×32×32" for arch in gpu.ARCHITECTURES]
    results = {
        "environment": {"device": "none", "torch": torch.__version__, "cuda": None},
        "tests": 1,
        "agreement": list(gpu.agreement(here, gpu.SIZES)),
        "costs": list(gpu.costs(here, math.inf, late)),
        "left_out": late,
    }
    assert all(case[name] == 0 for case in results["agreement"] for name in gpu.DEFAULT_STATISTICS)
    page = gpu.render(results)
    assert "`gpu` do not pass (pytest ended with 1)" in page
    assert "| nf-resnet-12, width 0.1, 2×3×32×32, bfloat16 | 0.0e+00 | 0.0e+00 | 0.0e+00 |" in page
    assert page.count("| – |") == 4
    assert page.endswith(f"Left out for want of time: {late[0]}; {late[1]}.\n")
