"""Measure the gate's errors, and write benchmarks/gate/results.json, docs/gate-proof.md and its picture.

``--quick`` tries one of each kind in seconds and writes only the JSON named by ``--out``.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.gate import agreement, harmless, report, results
from benchmarks.gate.faults import FAULTS, run_fault

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
# Seeds of the faulty side: the baseline's own, as a pull request has them, and others.
SEEDS = [list(range(first, first + 4)) for first in (0, 500, 600, 700, 800)]


def plant_all(*, quick: bool) -> Iterator[dict[str, Any]]:
    bases = {
        case.name: case.measure(harmless.BASES[0])
        for case in {fault.case.name: fault.case for fault in FAULTS}.values()
    }
    for fault in FAULTS[::6] if quick else FAULTS:
        for seeds in SEEDS[:1] if quick else SEEDS:
            yield run_fault(fault, bases[fault.case.name], seeds)


def measure_all(*, quick: bool) -> dict[str, Any]:
    measured: dict[str, Any] = {
        "environment": {
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
        },
        "faults": [],
        "harmless": [],
        "agreement": [],
    }
    for row in plant_all(quick=quick):
        measured["faults"].append(row)
        if not (row["exit"] == 1 and row["located"] and row["explained"]):
            print(json.dumps(row), flush=True)
    for count, row in enumerate(harmless.measure_all(quick=quick), 1):
        measured["harmless"].append(row)
        if row["exit"] or count % 500 == 0:
            print(count, json.dumps(row), flush=True)
    measured["harmless"] += harmless.pictures_allowed()
    for row in agreement.measure_all(quick=quick):
        measured["agreement"].append(row)
        if row["alarms"]:
            print(json.dumps(row), flush=True)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one of each kind")
    parser.add_argument("--render", action="store_true", help="write the page anew from the results that are there")
    parser.add_argument("--out", type=Path, default=HERE / "results.json", help="where to write the results")
    arguments = parser.parse_args()
    if not arguments.render:
        results.write(measure_all(quick=arguments.quick), arguments.out)
    found = results.read(arguments.out)
    if not arguments.quick:
        page = DOCS / "gate-proof.md"
        page.write_text(report.render_page(page.read_text(encoding="utf-8"), found), encoding="utf-8")
        report.draw(found, DOCS / "images" / "gate-tradeoff.png")


if __name__ == "__main__":
    main()
