"""``python -m benchmarks.invariance``."""

from __future__ import annotations

import argparse

from benchmarks.invariance import __doc__ as usage
from benchmarks.invariance import train


def main() -> None:
    """Run the command that is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.invariance",
        description=usage,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("train", "page"))
    if parser.parse_args().command == "train":
        train.train()
    else:
        from benchmarks.invariance import page

        page.write_page()


if __name__ == "__main__":
    main()
