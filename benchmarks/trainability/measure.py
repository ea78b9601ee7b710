"""Tables of every network at initialization: limits are fitted to them without measuring again.

Two inputs: Gaussian pictures (tokens drawn evenly), as sppkit takes where it knows no data, and a real batch.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch

import sppkit
from benchmarks.trainability.cases import cases
from benchmarks.trainability.data import ALPHABET, LENGTH, sample

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.trainability.cases import Case

# Not committed: four megabytes that a few minutes make again.
TABLES = Path("build") / "trainability.csv.gz"
SEEDS = range(4)
INPUTS = ("gaussian", "real")
BATCH = 64
# What check takes of a user's network.
STATS = "spp,gradient_second_moment,instance_style_share,equal_channels"
_SHAPES = {"image": (1, 8, 8), "flat": (64,), "text": (LENGTH,)}


def inputs_of(kind: str, source: str, seed: int) -> Tensor:
    """Return the batch of a seed: ``gaussian`` noise (of tokens for text), or ``real`` data."""
    generator = torch.Generator().manual_seed(seed)
    if source == "real":
        return sample(kind, BATCH, generator)[0]
    if kind == "text":
        return torch.randint(len(ALPHABET), (BATCH, LENGTH), generator=generator)
    return torch.randn(BATCH, *_SHAPES[kind], generator=generator)


def measure_case(case: Case, source: str, stats: str = STATS) -> pd.DataFrame:
    """Return a case's table over all seeds, in train mode."""
    measured = (
        sppkit.measure(case.build(seed), inputs_of(case.data, source, seed), mode="train", seed=seed, stats=stats)
        for seed in SEEDS
    )
    return pd.concat(measured, ignore_index=True)


def measure_all(path: Path, only: str = "", stats: str = STATS) -> None:
    """Measure every case with either input, and write one file; say which could not be measured, and why."""
    torch.set_num_threads(1)
    began, parts = time.perf_counter(), []
    for case in cases():
        if not case.name.startswith(only):
            continue
        for source in INPUTS:
            try:
                table = measure_case(case, source, stats)
            except sppkit.SppkitError as error:
                print(f"{case.name} ({source}): {error}")
                continue
            parts.append(table.assign(case=case.name, kind=case.kind, input=source))
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.concat(parts, ignore_index=True).to_csv(path, index=False)
    print(f"{len(parts)} tables in {time.perf_counter() - began:.0f} s: {path}")


def read_tables(path: Path) -> dict[tuple[str, str], pd.DataFrame]:
    """Return tables by case and input, each as ``sppkit.measure`` made it."""
    whole = pd.read_csv(path, dtype={"stage": "Int64", "height": "Int64", "width": "Int64", "name": str, "case": str})
    return {
        (str(case), str(source)): table.drop(columns=["case", "kind", "input"]).reset_index(drop=True)
        for (case, source), table in whole.groupby(["case", "input"], sort=False)
    }
