"""Measure everything and write benchmarks/results.json, docs/performance.md and its picture.

``--quick`` runs a small case of each kind in seconds and writes only the JSON named by ``--out``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import platform
from pathlib import Path
from typing import Any

from sppkit.cli.heap import keep_freed_memory

# As the command does: otherwise the contenders differ most by how many pages each happens to fault in.
keep_freed_memory()

import torch  # noqa: E402

from benchmarks import cuda, overhead, processes, report  # noqa: E402

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"


def environment() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "processor": names[0] if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def measure_all(*, quick: bool) -> dict[str, Any]:
    results: dict[str, Any] = {"environment": environment(), "overhead": []}
    for case in overhead.iter_cases(quick=quick):
        results["overhead"].append(overhead.measure_case(case))
        print(json.dumps(results["overhead"][-1]), flush=True)
    for case in cuda.measure_all(quick=quick):
        results.setdefault("cuda", []).append(case)
        print(json.dumps(case), flush=True)
    results["command"] = processes.time_command(quick=quick)
    print(json.dumps(results["command"]), flush=True)
    results["memory"] = processes.peak_memory(quick=quick)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small case of each kind")
    parser.add_argument("--out", type=Path, default=HERE / "results.json", help="where to write the results")
    arguments = parser.parse_args()
    results = measure_all(quick=arguments.quick)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if not arguments.quick:
        page = DOCS / "performance.md"
        page.write_text(report.render_page(page.read_text(encoding="utf-8"), results), encoding="utf-8")
        report.draw(results, DOCS / "images" / "performance.png")


if __name__ == "__main__":
    main()
