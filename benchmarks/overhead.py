"""The cost of listening: a forward pass with probes over the bare one, in turn, in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

import sppkit

Contender = Callable[[nn.Module, Tensor], object]


def bare(model: nn.Module, x: Tensor) -> None:
    model(x)


def ours(model: nn.Module, x: Tensor) -> None:
    with sppkit.Probe(model) as probe:
        model(x)
    probe.table()


def naive(model: nn.Module, x: Tensor) -> None:
    """Measure as the usual hooks do: mean and variance one after the other, each fetched at once."""
    found = []

    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        found.append(output.mean((0, 2, 3)).square().mean().item())
        found.append(output.var((0, 2, 3)).mean().item())

    with ExitStack() as stack:
        for site in model.signal_sites():
            stack.callback(model.get_submodule(site.path).register_forward_hook(hook).remove)
        model(x)


def timm_stats(model: nn.Module, x: Tensor) -> None:
    """Measure with timm's own function, on the same modules; its input is its own, of the same shape."""
    from timm.utils.model import avg_ch_var, avg_ch_var_residual, avg_sq_ch_mean, extract_spp_stats

    patterns = ["blocks.?*", "blocks.?*", "blocks.*.residual"]
    functions = [avg_sq_ch_mean, avg_ch_var, avg_ch_var_residual]
    extract_spp_stats(model, patterns, functions, input_shape=list(x.shape))


def contenders() -> dict[str, Contender]:
    found: dict[str, Contender] = {"bare": bare, "sppkit": ours, "naive": naive}
    try:
        import timm  # noqa: F401
    except (ImportError, RuntimeError):
        # RuntimeError: a torchvision that was built for another torch.
        return found
    return found | {"timm": timm_stats}


def iter_cases(*, quick: bool) -> Iterator[dict[str, Any]]:
    if quick:
        yield {"arch": "nf-resnet", "depth": 50, "width": 0.25, "batch": 8, "pixels": 64, "rounds": 3}
        return
    for pixels, rounds in ((224, 9), (64, 15)):
        for arch in ("bn-relu-conv", "relu-bn-conv", "nf-resnet"):
            yield {"arch": arch, "depth": 600, "width": 1.0, "batch": 8, "pixels": pixels, "rounds": rounds}
    base = {"arch": "nf-resnet", "depth": 200, "width": 1.0, "batch": 8, "pixels": 64, "rounds": 7}
    yield from (base | {"depth": depth} for depth in (50, 100, 200, 400))
    yield from (base | {"width": width} for width in (0.25, 0.5))
    yield from (base | {"batch": batch} for batch in (1, 2, 32))


def measure_case(case: dict[str, Any]) -> dict[str, Any]:
    model = sppkit.build_model(case["arch"], depth=case["depth"], width=case["width"])
    x = torch.randn(case["batch"], 3, case["pixels"], case["pixels"])
    runs: dict[str, list[float]] = {name: [] for name in contenders()}
    with torch.no_grad():
        for warm in (True, *[False] * case["rounds"]):
            for name, run in contenders().items():
                started = time.perf_counter()
                run(model, x)
                if not warm:
                    runs[name].append(time.perf_counter() - started)
    ratios = {name: [t / b for t, b in zip(times, runs["bare"], strict=True)] for name, times in runs.items()}
    return case | {
        "bare_seconds": statistics.median(runs["bare"]),
        "ratio": {
            name: {"median": statistics.median(values), "min": min(values), "max": max(values)}
            for name, values in ratios.items()
            if name != "bare"
        },
    }
