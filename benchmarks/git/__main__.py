"""``python -m benchmarks.git``."""

from __future__ import annotations

import argparse

from benchmarks.git import __doc__ as usage
from benchmarks.git import page, train


def main() -> None:
    """Run the command that is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.git", description=usage, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("train", "page"))
    parser.add_argument("--generators", default="generators", metavar="DIR", help="Where trained generators are kept.")
    given = parser.parse_args()
    {"train": train.train, "page": page.write_page}[given.command](given.generators)


if __name__ == "__main__":
    main()
