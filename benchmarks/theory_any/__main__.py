"""``python -m benchmarks.theory_any [NAME ...] [--seeds K]``: the table of docs/theory-any.md."""

from __future__ import annotations

import argparse

from benchmarks.theory_any.compare import STATISTICS, compare
from benchmarks.theory_any.networks import NETWORKS


def main() -> None:
    """Print one row for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of names; all networks where there are none")
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    print("| network | rows | verdict | squared mean | variance | residual variance | seconds | the curve ends |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (make, batch) in NETWORKS.items():
        if given.names and not any(part in name for part in given.names):
            continue
        found = compare(make, batch, given.seeds)
        cells = [
            f"{100 * found.deviations[item]:.1f} ({100 * found.errors[item]:.1f})" if item in found.deviations else ""
            for item in STATISTICS
        ]
        rows = f"{found.predicted}/{found.rows}"
        shown = (name, rows, found.verdict, *cells, f"{found.seconds:.1f}", found.reason or "")
        print(f"| {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
