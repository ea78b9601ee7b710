"""A sweep that is killed at random and resumed, against an undisturbed one: ``python -m benchmarks.sweep``."""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_GRID = """arch = "nf-resnet"
block = "basic"
width = 0.125
image-size = 16
batch-size = 2
[axes]
stages = [[1], [2]]
activation = ["relu", "silu"]
seed = {seeds}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=400)
    parser.add_argument("--kills", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), given.cells, given.kills)
    print(json.dumps(found, indent=2))
    return 0 if found["equal"] and found["measured_twice"] == 0 else 1


def measure(folder: Path, cells: int, kills: int) -> dict[str, object]:
    file = folder / "grid.toml"
    file.write_text(_GRID.format(seeds=list(range(cells // 4))), encoding="utf-8")
    seconds = {}
    for workers in (1, 2):
        started = time.perf_counter()
        subprocess.run(_command(file, folder / f"workers-{workers}", workers), check=True)
        seconds[workers] = round(time.perf_counter() - started, 1)
    cut, chance = folder / "cut", random.Random(0)
    written: dict[Path, int] = {}
    twice, killed = 0, 0
    while True:
        process = subprocess.Popen(_command(file, cut, 2))
        if killed < kills:
            wanted = len(written) + chance.randint(1, max(1, cells // kills - 1))
            while process.poll() is None and len(list(cut.glob("cells/*.json"))) < wanted:
                time.sleep(0.005)
            time.sleep(chance.random() * 0.05)
            killed += process.poll() is None
            process.kill()
        ended = process.wait()
        for path in cut.glob("cells/*.json"):
            when = path.stat().st_mtime_ns
            twice += written.setdefault(path, when) != when
        if ended == 0:
            break
    equal = (cut / "sweep.csv").read_bytes() == (folder / "workers-1/sweep.csv").read_bytes()
    equal &= (folder / "workers-2/sweep.csv").read_bytes() == (folder / "workers-1/sweep.csv").read_bytes()
    return {"cells": len(written), "kills": killed, "equal": equal, "measured_twice": twice, "seconds": seconds}


def _command(file: Path, folder: Path, workers: int) -> list[str]:
    return [sys.executable, "-m", "sppkit", "sweep", str(file), "--out", str(folder), "--workers", str(workers), "-q"]


if __name__ == "__main__":
    sys.exit(main())
