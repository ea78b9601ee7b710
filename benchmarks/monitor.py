"""What watching a training costs: steps with a monitor over bare ones, in turn, in one process.

``--quick`` takes a few rounds of small networks; ``--kills N`` instead kills a process that writes, again and again.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

import sppkit

WRITER = """
import sys
from sppkit.measuring.training.sinks import make_sinks
from sppkit.record.table import build_table
[sink] = make_sinks(sys.argv[1])
first = int(sys.argv[2])
sink.open(first)
for step in range(first, first + 10**6):
    sink.write(build_table(
        {"step": step, "seed": 0, "block": block, "name": "blocks." + "." * 40, "channels": 64, "nonfinite": 0,
         "channel_squared_mean": step + block / 7, "channel_variance": 1 / (step + block + 3)}
        for block in range(200)))
    print(step, flush=True)
"""


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        heads = [part.unflatten(-1, (-1, 32)).transpose(1, 2) for part in self.qkv(self.norms[0](x)).chunk(3, -1)]
        attended = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norms[1](x))


def gpt(width: int, depth: int) -> nn.Module:
    return nn.Sequential(*[Block(width) for _ in range(depth)])


def cases(*, quick: bool) -> dict[str, tuple[nn.Module, Tensor]]:
    if quick:
        return {"gpt 2×64, found": (gpt(64, 2), torch.randn(4, 32, 64))}
    return {
        "nf-resnet-50, declared": (
            sppkit.build_model("nf-resnet", depth=50, width=0.5),
            torch.randn(8, 3, 64, 64),
        ),
        "gpt 6×256, found": (gpt(256, 6), torch.randn(8, 128, 256)),
    }


def step(model: nn.Module, x: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()


def measure_case(model: nn.Module, x: Tensor, stats: object, rounds: int) -> dict[str, float]:
    """Return the medians over rounds of monitored and unmonitored steps over the bare one beside them."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    monitor = sppkit.Monitor(model, every=2, stats=stats)
    found: dict[str, list[float]] = {"monitored": [], "unmonitored": []}
    for index in range(rounds + 1):
        seconds = []
        started = time.perf_counter()
        step(model, x, optimizer)
        seconds.append(time.perf_counter() - started)
        with monitor:  # putting hooks on counts with the step before the monitored one
            for _ in range(2):
                started = time.perf_counter()
                step(model, x, optimizer)
                monitor.step()
                seconds.append(time.perf_counter() - started)
        if index > 0:  # the first finds the sites
            for name, other in zip(found, seconds[1:], strict=True):
                found[name].append(other / seconds[0])
    return {name: statistics.median(ratios) for name, ratios in found.items()}


def kill(count: int) -> None:
    """Kill a process that appends to a CSV file, and look at what is there each time."""
    with tempfile.TemporaryDirectory() as folder:
        path, whole, incomplete = Path(folder) / "spp.csv", 0, 0
        for index in range(count):
            command = [sys.executable, "-c", WRITER, f"csv:{path}", str(whole)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
                writer.stdout.readline(), writer.stdout.readline()  # a first step alone is a new training
                time.sleep(index % 23 / 500)
                writer.kill()
            rows = sppkit.read_csv(path).groupby("step")["block"].count()
            assert (rows.iloc[:-1] == 200).all(), "a step lacks rows"
            incomplete += int(rows.iloc[-1] != 200)
            whole = int(rows.index[-1])
        print(f"{count} kills, {whole} steps of 200 rows: no torn row; the last step incomplete {incomplete} times")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitor", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few rounds of a small network")
    parser.add_argument("--kills", type=int, default=0, help="kill a writing process so many times instead")
    arguments = parser.parse_args()
    if arguments.kills:
        kill(arguments.kills)
        return
    for name, (model, x) in cases(quick=arguments.quick).items():
        for stats in ("spp", ("spp", "gradient")):
            ratios = measure_case(model, x, stats, 3 if arguments.quick else 15)
            shown = ", ".join(f"{kind} {ratio:.3f}" for kind, ratio in ratios.items())
            print(f"{name}, {stats}: {shown}", flush=True)


if __name__ == "__main__":
    main()
