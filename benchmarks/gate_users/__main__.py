"""Run the benchmark: ``python -m benchmarks.gate_users``; see the package for what it does."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gate_users.faults import FAULTS
from benchmarks.gate_users.interface import prepare
from benchmarks.gate_users.networks import MISSING, NETWORKS
from benchmarks.gate_users.report import render
from benchmarks.gate_users.trial import try_fault

HERE = Path(__file__).parent


def iter_trials(networks: list[str], kinds: list[str], *, fresh: bool) -> Iterator[dict[str, Any]]:
    for network in networks:
        for kind in kinds:
            for strength in FAULTS[kind].strengths:
                row = try_fault(NETWORKS[network], FAULTS[kind], strength, fresh=fresh)
                if row is not None:
                    yield row


def chosen(names: list[str] | None, known: dict[str, Any]) -> list[str]:
    """Return the names that hold one of the given texts; all of them where none is given."""
    return [name for name in known if not names or any(text.lower() in name.lower() for text in names)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate_users", description=__doc__)
    parser.add_argument("--network", action="append", help="part of a network's name; repeatable")
    parser.add_argument("--kind", action="append", help="part of a fault's name; repeatable")
    parser.add_argument("--fresh", action="store_true", help="measure anew what is in the local folder")
    parser.add_argument("--out", type=Path, default=HERE / "results.json", help="where to write the trials")
    parser.add_argument(
        "--show", action="store_true", help="print every trial that matters and is missed or explained wrongly"
    )
    arguments = parser.parse_args()
    prepare()
    for library in MISSING:
        print(f"{library} can't be imported: its networks are left out")
    rows = []
    for network in chosen(arguments.network, NETWORKS):
        rows += iter_trials([network], chosen(arguments.kind, FAULTS), fresh=arguments.fresh)
        print(network, len(rows), flush=True)
        arguments.out.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", encoding="utf-8")
    print(render(rows))


if __name__ == "__main__":
    main()
