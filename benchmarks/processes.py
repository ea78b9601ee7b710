"""What a whole process costs: the command over its unavoidable parts, start-up, and peak memory against depth."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

# Each part is timed in a process of its own and prints its seconds.
_IMPORT = "import time; s = time.perf_counter(); import torch; print(time.perf_counter() - s)"
_DRAW = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np, torch
from sppkit.models.build import lay_out
from sppkit.models.spec import build_spec
from sppkit.streams import fill_normal
model = lay_out(build_spec("nf-resnet", {{"depth": {depth}, "width": {width}}}))
sizes = [(name, p.numel()) for name, p in model.named_parameters() if p.ndim == 4]
def draw(item):
    out = np.empty(item[1], np.float32)
    fill_normal(out, 0, item[0])
    return out
s = time.perf_counter()
with ThreadPoolExecutor(torch.get_num_threads()) as pool:
    kept = list(pool.map(draw, sizes))
print(time.perf_counter() - s)
"""
_BUILD = """
import time, sppkit
build = sppkit.build_model
s = time.perf_counter()
model = build("nf-resnet", depth={depth}, width={width})
print(time.perf_counter() - s)
"""
_FORWARD = """
import time, torch, sppkit
model = sppkit.build_model("nf-resnet", depth={depth}, width={width})
x = torch.randn(8, 3, {pixels}, {pixels})
s = time.perf_counter()
with torch.no_grad(): model(x)
print(time.perf_counter() - s)
"""


def time_command(*, quick: bool) -> dict[str, Any]:
    """Time ``sppkit plot --arch nf-resnet --depth 600`` and the parts that it can't do without, in turn."""
    size = {"depth": 50, "width": 0.25, "pixels": 64} if quick else {"depth": 600, "width": 1.0, "pixels": 224}
    parts = {"import torch": _IMPORT, "draw weights": _DRAW, "build": _BUILD, "bare forward pass": _FORWARD}
    rounds: list[dict[str, float]] = []
    phases: list[dict[str, float]] = []
    for _ in range(1 if quick else 3):
        seconds = {name: float(_printed("-c", code.format(**size))) for name, code in parts.items()}
        seconds["command"] = _wall([*_plot(size), "--quiet"])
        rounds.append(seconds)
        phases.append(_printed("-m", "benchmarks.phases", *_plot(size)[4:], "--quiet"))
    needed = ("import torch", "draw weights", "bare forward pass")
    return size | {
        "seconds": {name: statistics.median(r[name] for r in rounds) for name in rounds[0]},
        "command_ratio": statistics.median(r["command"] / sum(r[name] for name in needed) for r in rounds),
        "phases": {name: statistics.median(found[name] for found in phases) for name in phases[0]},
        "build_ratio": statistics.median(r["build"] / r["draw weights"] for r in rounds),
        "help_seconds": statistics.median(_wall([sys.executable, "-m", "sppkit", "--help"]) for _ in range(9)),
    }


def peak_memory(*, quick: bool) -> list[dict[str, Any]]:
    """Measure the peak memory of whole and streamed runs against depth (Linux: it is read from /proc)."""
    pixels = 32 if quick else 64
    width = 0.25 if quick else 1.0
    depths = {"on": (50, 500), "off": (50,)} if quick else {"on": (600, 1200, 2400, 6000), "off": (600, 1200, 2400)}
    rows = [
        _peak({"depth": depth, "width": width, "pixels": pixels}, streaming)
        for streaming, several in depths.items()
        for depth in several
    ]
    if not quick:
        rows.append(_peak({"depth": 600, "width": 1.0, "pixels": 224}, "on"))
        rows.append(_peak({"depth": 6000, "width": 1.0, "pixels": 224}, "on"))
        rows.append(_peak({"depth": 10_000, "width": 0.25, "pixels": 64}, "on"))
    return rows


def _peak(size: dict[str, Any], streaming: str) -> dict[str, Any]:
    # The child reads its own peak, VmHWM: its rusage would begin with the memory of the process it was forked from.
    code = (
        "import sys\n"
        "from sppkit.__main__ import main\n"
        f"sys.argv = ['sppkit', *{[*_plot(size)[3:], '--streaming', streaming, '--quiet']!r}]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "lines = open('/proc/self/status').read().splitlines()\n"
        "print(next(line.split()[1] for line in lines if line.startswith('VmHWM')))"
    )
    started = time.perf_counter()
    kibibytes = float(_printed("-c", code))
    return size | {
        "streaming": streaming,
        "peak_mib": round(kibibytes / 1024, 1),
        "seconds": round(time.perf_counter() - started, 1),
    }


def _plot(size: dict[str, Any]) -> list[str]:
    options = ["--depth", size["depth"], "--width", size["width"], "--image-size", size["pixels"], "--name", "bench"]
    return [sys.executable, "-m", "sppkit", "plot", "--arch", "nf-resnet", *map(str, options)]


def _printed(*arguments: str) -> Any:
    # What the last line of Python's output says, in JSON.
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=_environment())
    return json.loads(done.stdout.split("\n")[-2])


def _wall(command: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, env=_environment())
        return time.perf_counter() - started


def _environment() -> dict[str, str]:
    # A user's, whatever this process has been told of memory.
    kept = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    return kept | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
