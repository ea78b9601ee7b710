"""Measure everything and write benchmarks/results.json, docs/performance.md and its picture.

``--quick`` runs a small case of each kind in seconds and writes only the JSON named by ``--out``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sppkit.machine.allocator import keep_freed_memory

# As the command does: otherwise the contenders differ most by how many pages each happens to fault in.
keep_freed_memory()

import torch  # noqa: E402

from benchmarks import cuda, overhead, processes, report  # noqa: E402
from sppkit.stats import cpu_moments  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

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
        "compiled": cpu_moments.native is not None,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


# In this order.
PARTS: dict[str, Callable[..., Any]] = {
    "overhead": lambda *, quick: [_shown(overhead.measure_case(case)) for case in overhead.iter_cases(quick=quick)],
    "cuda": lambda *, quick: [_shown(case) for case in cuda.measure_all(quick=quick)],
    "command": lambda *, quick: _shown(processes.time_command(quick=quick)),
    "memory": lambda *, quick: _shown(processes.peak_memory(quick=quick)),
}


def _shown(found: Any) -> Any:
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small case of each kind")
    parser.add_argument("--only", choices=PARTS, help="measure one part, and keep the others as they were")
    parser.add_argument("--out", type=Path, default=HERE / "results.json", help="where to write the results")
    arguments = parser.parse_args()
    if arguments.only and not arguments.out.exists():
        parser.error(
            f"--only keeps the other parts of {arguments.out}, which is not there; leave it out the first time."
        )
    results = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.only else {}
    results["environment"] = environment()
    for part in [arguments.only] if arguments.only else PARTS:
        results[part] = PARTS[part](quick=arguments.quick)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if not arguments.quick:
        page = DOCS / "performance.md"
        page.write_text(report.render_page(page.read_text(encoding="utf-8"), results), encoding="utf-8")
        report.draw(results, DOCS / "images" / "performance.png")


if __name__ == "__main__":
    main()
