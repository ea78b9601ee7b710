"""What ``benchmarks/gpu.sh`` measures: a GPU against the CPU, and what listening costs there, as JSON and as a table.

Cases that time is too short for are left out, and named.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

import sppkit
from benchmarks import cuda
from sppkit.registry import DEFAULT_STATISTICS

ARCHITECTURES = ("bn-relu-conv", "nf-resnet")
DTYPES = ("float32", "bfloat16")
# Depth, width, pixels, samples; the small ones wait for Python, the large ones for the device.
SIZES = ((50, 0.25, 64, 1), (50, 0.25, 64, 8), (50, 1.0, 224, 8), (600, 0.25, 64, 8), (600, 1.0, 224, 8))
ROUNDS = 11


def agreement(device: torch.device, sizes: tuple[tuple[int, float, int, int], ...] = ((50, 0.25, 64, 4),)) -> Any:
    """Yield how far the table of a device is from the CPU's, statistic by statistic, as a part of its largest value."""
    for depth, width, pixels, batch in sizes:
        for arch in ARCHITECTURES:
            for dtype in DTYPES:
                model = sppkit.build_model(arch, depth=depth, width=width).to(getattr(torch, dtype))
                x = torch.randn(batch, 3, pixels, pixels).to(getattr(torch, dtype))
                here, there = sppkit.measure(model, x), sppkit.measure(model, x, device=device)
                case = {"arch": arch, "depth": depth, "width": width, "batch": batch, "pixels": pixels, "dtype": dtype}
                names = list(DEFAULT_STATISTICS)
                yield case | ((here[names] - there[names]).abs().max() / here[names].abs().max()).to_dict()


def costs(device: torch.device, deadline: float, left_out: list[str]) -> Any:
    """Yield the cost of listening, case by case, until time is up."""
    for depth, width, pixels, batch in SIZES:
        for arch in ARCHITECTURES:
            if time.monotonic() > deadline:
                left_out.append(f"{arch}-{depth}, width {width:g}, {batch}×3×{pixels}×{pixels}")
                continue
            network = sppkit.build_model(arch, depth=depth, width=width).to(device)
            for dtype in DTYPES:
                network.to(getattr(torch, dtype))
                case = {"arch": arch, "depth": depth, "width": width, "batch": batch, "pixels": pixels, "dtype": dtype}
                yield cuda.measure_case(case | {"rounds": ROUNDS}, network, device)


def render(results: dict[str, Any]) -> str:
    """Return the results as a page of Markdown."""
    found = results["environment"]
    verdict = "pass" if results["tests"] == 0 else f"do not pass (pytest ended with {results['tests']})"
    lines = [
        f"{found['device']}, torch {found['torch']}, CUDA {found['cuda']}. The tests marked `gpu` {verdict}.",
        "",
    ]
    lines += [f"| GPU against CPU | {' | '.join(DEFAULT_STATISTICS)} |", "|---|" + "---|" * len(DEFAULT_STATISTICS)]
    for case in results["agreement"]:
        lines.append(f"| {_name(case)} | {' | '.join(f'{case[name]:.1e}' for name in DEFAULT_STATISTICS)} |")
    lines += ["", "| network | bare forward | probe | naive hooks | graph, probe over bare |", "|---|---|---|---|---|"]
    for case in results["costs"]:
        graph = f"{case['graph']['median']:.2f}" if "graph" in case else "–"
        ratios = " | ".join(f"{case['ratio'][name]['median']:.2f}" for name in ("sppkit", "naive"))
        lines.append(f"| {_name(case)} | {1e3 * case['bare_seconds']:.2f} ms | {ratios} | {graph} |")
    lines += ["", f"Medians of {ROUNDS} rounds; ratios are to the bare pass of the same round."]
    lines += [f"Left out for want of time: {'; '.join(results['left_out'])}."] if results["left_out"] else []
    return "\n".join(lines) + "\n"


def _name(case: dict[str, Any]) -> str:
    size = f"{case['batch']}×3×{case['pixels']}×{case['pixels']}"
    return f"{case['arch']}-{case['depth']}, width {case['width']:g}, {size}, {case['dtype']}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--seconds", type=float, required=True, help="no case is begun after that")
    parser.add_argument("--tests", type=int, required=True, help="how pytest -m gpu ended")
    parser.add_argument("--out", type=Path, required=True, help="folder of gpu.json and gpu.md")
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.seconds
    device, left_out = torch.device("cuda"), []
    results: dict[str, Any] = {
        "environment": {
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
        },
        "tests": arguments.tests,
        "agreement": list(agreement(device)),
        "costs": list(costs(device, deadline, left_out)),
        "left_out": left_out,
    }
    (arguments.out / "gpu.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (arguments.out / "gpu.md").write_text(render(results), encoding="utf-8")
    print(render(results))


if __name__ == "__main__":
    main()
