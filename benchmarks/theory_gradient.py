"""Gradients predicted and measured: python -m benchmarks.theory_gradient FOLDER [--measure].

With --measure every network of the table is measured first (a run that is already there is kept). Then each run is
compared with its prediction, and the table of docs/theory-gradient.md is printed.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

import sppkit

SEEDS = 4
COLUMN = "gradient_second_moment"
# What a mean over seeds may be off by, beside three standard errors.
ALLOWED = {"bn-relu-conv": 0.05, "relu-bn-conv": 0.05, "nf-resnet": 0.1, "he-resnet": 0.1}


class Case(NamedTuple):
    arch: str
    depth: int
    size: int = 64
    width: float = 0.25
    batch: int = 8
    padding: str = "zeros"
    alpha: float | None = None

    @property
    def kind(self) -> str:
        return self.arch + ("" if self.alpha is None else f", alpha {self.alpha:g}")

    @property
    def name(self) -> str:
        alpha = "" if self.alpha is None else f"-alpha{self.alpha:g}"
        return f"{self.arch}-{self.depth}-{self.size}-w{self.width:g}-b{self.batch}-{self.padding}{alpha}"

    @property
    def options(self) -> dict[str, object]:
        options = {"depth": self.depth, "padding": self.padding, "width": self.width}
        return options if self.alpha is None else options | {"alpha": self.alpha}


KINDS = [("bn-relu-conv", None), ("relu-bn-conv", None), ("nf-resnet", None), ("nf-resnet", 1.0), ("he-resnet", None)]
SIZES = [
    *itertools.product((50, 101, 200), (64,), (0.25,), (8,), ("zeros", "circular")),
    *itertools.product((50,), (64,), (0.5,), (4, 16), ("zeros",)),
    *itertools.product((50, 101), (64,), (1.0,), (8,), ("zeros",)),
    *itertools.product((50,), (224,), (0.25,), (4,), ("zeros", "circular")),
    *itertools.product((200,), (64,), (1.0,), (8,), ("zeros",)),
    *itertools.product((600,), (64,), (0.25,), (4,), ("zeros",)),
    *itertools.product((200,), (224,), (0.25,), (4,), ("zeros",)),
    *itertools.product((600,), (224,), (0.25,), (4,), ("zeros",)),
]
CASES = [Case(arch, *size, alpha) for size, (arch, alpha) in itertools.product(SIZES, KINDS)]


def measure(case: Case, folder: Path) -> None:
    flags = {"image-size": case.size, "seeds": SEEDS, "batch-size": case.batch, "out": folder, "name": case.name}
    flags |= {"arch": case.arch, "stats": "spp,gradient", **case.options}
    typed = [str(part) for name, value in flags.items() for part in (f"--{name}", value)]
    subprocess.run([sys.executable, "-m", "sppkit", "plot", "--quiet", "--no-theory", *typed], check=True)


def compare(case: Case, folder: Path) -> list[str]:
    """Return a row of the table: how far the mean over seeds is from theory, and how far seeds scatter, in logarithms.

    Four seeds don't tell how far they scatter to better than 40 %: the larger of theirs and theory's counts.
    """
    table = sppkit.read_csv(folder / f"{case.name}.csv").pivot_table(index="seed", columns="block", values=COLUMN)
    predicted = sppkit.predict(case.arch, image_size=case.size, batch_size=case.batch, **case.options)
    values = table.to_numpy()
    expected = predicted[f"predicted_{COLUMN}"].to_numpy()
    sigma = np.sqrt(np.log1p((predicted[f"predicted_{COLUMN}_spread"].to_numpy() / expected) ** 2))
    logs = np.log(values / expected)
    # The mean of a lognormal number is exp(half its variance) above that of its logarithm.
    spread = logs.std(axis=0, ddof=1)
    apart = logs.mean(axis=0) + spread**2 / 2
    error = np.maximum(spread, sigma) / SEEDS**0.5
    beyond = np.abs(apart) > np.log1p(ALLOWED[case.arch]) + 3 * error
    return [
        f"{expected[0]:.3g}",
        f"{100 * np.abs(apart).mean():.1f} %",
        f"{100 * np.abs(apart).max():.1f} %",
        str(int(beyond.sum())),
        f"{100 * spread[0]:.0f} % / {100 * sigma[0]:.0f} %",
    ]


def print_table(folder: Path) -> None:
    print("| network | depth | px | width | batch | padding | at the stem | mean deviation | largest | beyond "
          "| seeds at the stem: measured / predicted |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for case in CASES:
        if (folder / f"{case.name}.csv").exists():
            cells = [case.kind, case.depth, case.size, case.width, case.batch, case.padding, *compare(case, folder)]
            print("| " + " | ".join(map(str, cells)) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--measure", action="store_true")
    arguments = parser.parse_args()
    for case in CASES if arguments.measure else ():
        if not (arguments.folder / f"{case.name}.csv").exists():
            measure(case, arguments.folder)
    print_table(arguments.folder)


if __name__ == "__main__":
    main()
