"""``python -m benchmarks.gate_users faults|harmless``; the package says what they do."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gate_users.faults import FAULTS
from benchmarks.gate_users.harmless import try_network
from benchmarks.gate_users.interface import prepare
from benchmarks.gate_users.networks import MISSING, NETWORKS
from benchmarks.gate_users.report import render_faults, render_harmless
from benchmarks.gate_users.trial import try_fault

HERE = Path(__file__).parent


def iter_trials(network: str, kinds: list[str], *, fresh: bool) -> Iterator[dict[str, Any]]:
    for kind in kinds:
        for strength in FAULTS[kind].strengths:
            row = try_fault(NETWORKS[network], FAULTS[kind], strength, fresh=fresh)
            if row is not None:
                yield row


def chosen(names: list[str] | None, known: dict[str, Any]) -> list[str]:
    """Return the names that hold one of the given texts; all of them where none is given."""
    return [name for name in known if not names or any(text.lower() in name.lower() for text in names)]


def write(rows: list[dict[str, Any]], path: Path) -> None:
    """Write one line a row; numbers have four digits."""
    lines = [json.dumps({key: _short(value) for key, value in row.items()}) for row in rows]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate_users", description=__doc__)
    parser.add_argument("what", choices=("faults", "harmless"))
    parser.add_argument("--network", action="append", help="part of a network's name; repeatable")
    parser.add_argument("--kind", action="append", help="part of a fault's name; repeatable")
    parser.add_argument("--groups", type=int, default=12, help="groups of four seeds of each network")
    parser.add_argument("--fresh", action="store_true", help="measure faults anew that are in the local folder")
    parser.add_argument("--out", type=Path, help="where to write the rows, and beside them the page")
    arguments = parser.parse_args()
    prepare()
    for library in MISSING:
        print(f"{library} can't be imported: its networks are left out", flush=True)
    rows: list[dict[str, Any]] = []
    path = arguments.out or HERE / f"{arguments.what}.json"
    for network in chosen(arguments.network, NETWORKS):
        if arguments.what == "faults":
            rows += iter_trials(network, chosen(arguments.kind, FAULTS), fresh=arguments.fresh)
        else:
            rows += try_network(NETWORKS[network], arguments.groups)
        print(f"{network}: {len(rows)} rows so far", flush=True)
        write(rows, path)
    page = render_faults(rows) if arguments.what == "faults" else render_harmless(rows)
    path.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
