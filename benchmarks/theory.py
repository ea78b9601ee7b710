"""Theory beside measurement at full size: python -m benchmarks.theory FOLDER [--measure].

With --measure every network of the table is measured first (about half an hour on two cores; a run that is already
there is kept). Then each run is compared with its prediction, and the table of docs/theory.md is printed.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

import sppkit
from sppkit.models.spec import build_spec
from sppkit.prediction.describe_network import describe_network
from sppkit.theory.network import iter_expected
from sppkit.theory.signal import Batch

SEEDS, BATCH = 4, 8
# The squared mean is predicted where it is more than this share of the variance.
SMALL = 0.02
REACHES = (6, 8, 10, 14, 18)


class Case(NamedTuple):
    arch: str
    depth: int
    size: int
    padding: str
    alpha: float | None = None

    @property
    def name(self) -> str:
        alpha = "" if self.alpha is None else f"-alpha{self.alpha:g}"
        return f"{self.arch}-{self.depth}-{self.size}-{self.padding}{alpha}"

    @property
    def options(self) -> dict[str, object]:
        options = {"depth": self.depth, "padding": self.padding}
        return options if self.alpha is None else options | {"alpha": self.alpha}


KINDS = [("bn-relu-conv", None), ("relu-bn-conv", None), ("nf-resnet", None), ("nf-resnet", 1.0)]
CASES = [
    Case(arch, depth, size, padding, alpha)
    for size, depth, padding, (arch, alpha) in itertools.product((64, 224), (50, 600), ("zeros", "circular"), KINDS)
]


def measure(case: Case, folder: Path) -> None:
    flags = {"image-size": case.size, "seeds": SEEDS, "batch-size": BATCH, "out": folder, "name": case.name}
    flags |= {"arch": case.arch, **case.options}
    typed = [str(part) for name, value in flags.items() for part in (f"--{name}", value)]
    subprocess.run([sys.executable, "-m", "sppkit", "plot", "--quiet", "--no-theory", *typed], check=True)


def compare(case: Case, folder: Path) -> list[str]:
    """Return a row of the table."""
    table = sppkit.read_csv(folder / f"{case.name}.csv")
    groups = table[table["block"] > 0].groupby("block")
    predicted = sppkit.predict(case.arch, image_size=case.size, batch_size=BATCH, **case.options).set_index("block")[1:]
    cells = []
    for statistic in ("channel_variance", "residual_variance"):
        means, errors = groups[statistic].mean(), groups[statistic].std() / SEEDS**0.5
        expected = predicted[f"predicted_{statistic}"]
        relative, error = (means / expected - 1).abs(), errors / expected
        beyond = int((relative > 0.03 + 3 * error).sum())
        cells += [f"{100 * relative.mean():.2f} %", f"{100 * relative.max():.1f} %", str(beyond)]
    return [*cells, _squared_mean(groups["channel_squared_mean"].mean(), predicted)]


def _squared_mean(means: pd.Series, predicted: pd.DataFrame) -> str:
    """Return how many of the blocks with a squared mean worth the name lie within two standard errors."""
    expected = predicted["predicted_channel_squared_mean"]
    counted = expected > SMALL * predicted["predicted_channel_variance"]
    error = predicted["predicted_channel_squared_mean_spread"] / SEEDS**0.5
    inside = (means - expected).abs() <= 2 * error
    return f"{int((inside & counted).sum())}/{int(counted.sum())}" if counted.any() else "–"


def print_table(folder: Path) -> None:
    print("| network | depth | px | padding | channel variance: mean, largest deviation, beyond | residual variance "
          "| squared mean within two standard errors |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        if (folder / f"{case.name}.csv").exists():
            cells = compare(case, folder)
            kind = case.arch + ("" if case.alpha is None else f", alpha {case.alpha:g}")
            print(f"| {kind} | {case.depth} | {case.size} | {case.padding} | {', '.join(cells[:3])} "
                  f"| {', '.join(cells[3:6])} | {cells[6]} |")  # fmt: skip


def print_grouping() -> None:
    """Largest relative difference of the channel variance between a reach and all positions by themselves."""
    print("\n| network | " + " | ".join(f"reach {reach}" for reach in REACHES) + " |")
    print("|---|" + "---|" * len(REACHES))
    for arch, alpha in [*KINDS, ("he-resnet", None)]:
        options = {"stages": (50,)} | ({} if alpha is None else {"alpha": alpha})
        spec = build_spec(arch, options)
        network = describe_network(spec, normalizes=spec.norm == "bn")
        full, *grouped = (
            np.array([block.variance.value for block in iter_expected(network, 160, 160, Batch(BATCH), reach=reach)])
            for reach in (20, *REACHES)
        )
        cells = [f"{np.abs(values / full - 1).max():.0e}" for values in grouped]
        print(f"| {arch}{'' if alpha is None else f', alpha {alpha:g}'} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--measure", action="store_true")
    arguments = parser.parse_args()
    for case in CASES if arguments.measure else ():
        if not (arguments.folder / f"{case.name}.csv").exists():
            measure(case, arguments.folder)
    print_table(arguments.folder)
    print_grouping()


if __name__ == "__main__":
    main()
