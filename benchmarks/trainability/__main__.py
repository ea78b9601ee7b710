"""``python -m benchmarks.trainability``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.trainability import __doc__ as usage
from benchmarks.trainability import measure, proof, train, verdicts


def main() -> None:
    """Run the command that is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trainability",
        description=usage,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("train", "longer", "measure", "verdicts", "proof"))
    parser.add_argument("--only", default="", metavar="PREFIX", help="cases whose names begin so")
    parser.add_argument("--tables", type=Path, default=measure.TABLES, metavar="FILE", help="where tables are kept")
    parser.add_argument("--stats", default=measure.STATS, metavar="NAMES", help="statistics, separated by commas")
    options = parser.parse_args()
    if options.command == "measure":
        measure.measure_all(options.tables, options.only, options.stats)
    elif options.command == "verdicts":
        print(verdicts.report(options.tables, options.only))
    elif options.command == "proof":
        proof.write_page(options.tables)
    else:
        train.train(options.only, train.LONGER if options.command == "longer" else train.STEPS)


if __name__ == "__main__":
    main()
