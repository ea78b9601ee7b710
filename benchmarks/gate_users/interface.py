"""All that the benchmark takes from sppkit's insides; everything else uses its public face."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

import sppkit
import sppkit.measuring.run as measuring
from benchmarks.gate_users.factory import Plant, planted
from benchmarks.gate_users.networks.network import Network
from sppkit.config.resolve import resolve_config
from sppkit.errors import UsageError
from sppkit.gate.baseline import Baseline, read_baseline, write_baseline
from sppkit.inputs.gaussian import draw_batch
from sppkit.inputs.tokens import draw_tokens
from sppkit.measuring.forward.random_state import seeded

__all__ = ["Measured", "UsageError", "as_baseline", "draw_input", "judge", "measure", "prepare", "seeded"]
BATCH = 8


class Measured(NamedTuple):
    """A run as the command line has it before it writes it."""

    table: pd.DataFrame
    record: dict[str, Any]


def measure(network: Network, seed: int = 0, seeds: int = 4, plant: Plant | None = None, **options: Any) -> Measured:
    """Run what ``sppkit check --model benchmarks.gate_users.factory:build --kw network=NAME --seeds 4`` runs."""
    flags = {
        "model": "benchmarks.gate_users.factory:build",
        "kw": [f"network={network.name}"],
        "shape": ",".join(map(str, network.shape)),
        "batch_size": BATCH,
        "seed": seed,
        "seeds": seeds,
        "device": "cpu",
    }
    flags |= {} if network.vocab is None else {"input": "tokens", "vocab": network.vocab}
    with planted(plant):
        result = measuring.run(resolve_config(flags | options))
    return Measured(result.table, result.record)


def as_baseline(measured: Measured) -> Baseline:
    """Return a run as the next one finds it: accepted, written, and read again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "base.json"
        write_baseline("base", measured.table, measured.record, path, reason="it is the baseline")
        return read_baseline(path)


def judge(new: Measured, base: Baseline) -> Any:
    """Return the gate's verdict on a run against a baseline."""
    return sppkit.check(new.table, baseline=base, record=new.record)


def prepare() -> None:
    """Leave out what takes half of a small network's time and changes no number: garbage, and lines of source."""
    torch.set_num_threads(1)
    measuring.locate_blocks = lambda *_, **__: {}  # type: ignore[attr-defined]
    gc.collect()
    gc.freeze()


def draw_input(network: Network, seed: int) -> torch.Tensor:
    """Return the batch that a run of one seed is fed."""
    if network.vocab is None:
        return draw_batch((BATCH, *network.shape), seed, 0)
    return draw_tokens((BATCH, *network.shape), network.vocab, seed, "input/0")
