"""The cost of listening on a GPU: eager and in a CUDA graph, over the bare eager pass, in turn, in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import sppkit
from benchmarks import overhead
from sppkit.measuring.forward.full_precision import full_float32

Run = Callable[[], object]
WARM_UPS = 3


def measure_all(*, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield the results of every case; of none where there is no GPU."""
    if torch.cuda.is_available():
        for arch in ("bn-relu-conv", "relu-bn-conv", "nf-resnet"):
            yield from measure_network(arch, torch.device("cuda"), quick=quick)


def measure_network(arch: str, device: torch.device, *, quick: bool) -> Iterator[dict[str, Any]]:
    size = {"depth": 50, "width": 0.25, "rounds": 3} if quick else {"depth": 600, "width": 1.0, "rounds": 11}
    network = sppkit.build_model(arch, depth=size["depth"], width=size["width"]).to(device)
    for dtype in ("float32", "bfloat16"):
        network.to(getattr(torch, dtype))
        for pixels in (64,) if quick else (224, 64):
            for batch in (8, 1):
                case = {"arch": arch, **size, "batch": batch, "pixels": pixels, "dtype": dtype}
                yield measure_case(case, network, device)


def measure_case(case: dict[str, Any], network: nn.Module, device: torch.device) -> dict[str, Any]:
    """Measure one case; ratios are to the bare eager pass of the same round, ``graph`` to the bare graph's."""
    x = torch.randn(case["batch"], 3, case["pixels"], case["pixels"]).to(device, getattr(torch, case["dtype"]))
    with torch.no_grad(), full_float32():
        runs = contenders(network, x)
        rounds = [{name: seconds(run, device) for name, run in runs.items()} for _ in range(case["rounds"] + WARM_UPS)]
    rounds = rounds[WARM_UPS:]
    result = case | {
        "bare_seconds": statistics.median(r["bare"] for r in rounds),
        "ratio": {name: spread([r[name] / r["bare"] for r in rounds]) for name in runs if name != "bare"},
    }
    if "sppkit graph" in runs:
        result["graph"] = spread([r["sppkit graph"] / r["bare graph"] for r in rounds])
    return result


def contenders(network: nn.Module, x: Tensor) -> dict[str, Run]:
    """Return what is measured; graphs where there is something to capture them."""
    runs: dict[str, Run] = {
        "bare": lambda: overhead.bare(network, x),
        "sppkit": lambda: overhead.ours(network, x),
        "naive": lambda: overhead.naive(network, x),
    }
    return runs | capture(network, x) if x.is_cuda else runs


def capture(network: nn.Module, x: Tensor) -> dict[str, Run]:
    """Capture the bare and the probed pass; what was probed is read from the probe after each replay."""
    # Kernels are compiled, and cuDNN chooses, before a capture, on a stream of its own, as torch asks for.
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            overhead.ours(network, x)
    torch.cuda.current_stream().wait_stream(side)
    bare, probed, probe = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph(), sppkit.Probe(network)
    with torch.cuda.graph(bare):
        network(x)
    with torch.cuda.graph(probed), probe:
        network(x)
    return {"bare graph": bare.replay, "sppkit graph": lambda: (probed.replay(), probe.table())}


def seconds(run: Run, device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
