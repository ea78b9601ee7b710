"""Training: five usual optimizer settings, two seeds, at most 120 steps each; every run is one line of a file."""

from __future__ import annotations

import json
import math
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from benchmarks.trainability.cases import Case, cases
from benchmarks.trainability.data import loss_that_counts, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RESULTS = Path(__file__).with_name("results.jsonl")
# In the order in which they run: the first ones decide most cases.
SETTINGS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adam-3e-3": lambda parameters: torch.optim.Adam(parameters, lr=3e-3),
    "sgd-0.01": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
    "sgd-0.1": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adam-1e-2": lambda parameters: torch.optim.Adam(parameters, lr=1e-2),
    "adam-1e-3": lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
}
SEEDS = (0, 1)
STEPS, BATCH = 120, 32
# The loss is averaged over about so many steps.
SMOOTHED = 10
_POINTS = 10


def run(case: Case, setting: str, seed: int, steps: int = STEPS) -> dict[str, Any]:
    """Train a network until it has learnt something, breaks, or has had its steps.

    Returns:
        The run: its smoothed loss, the curve thinned, the steps taken and the seconds.
    """
    began = time.perf_counter()
    model = case.build(seed)
    optimizer = SETTINGS[setting](model.parameters())
    generator = torch.Generator().manual_seed(seed)
    curve, smoothed = [], math.nan
    for step in range(steps):
        inputs, labels = sample(case.data, BATCH, generator)
        loss = functional.cross_entropy(model(inputs).flatten(0, -2), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        value = loss.item()
        smoothed = value if step == 0 else smoothed + (value - smoothed) / min(step + 1, SMOOTHED)
        curve.append(value)
        if not math.isfinite(value) or (step >= SMOOTHED and smoothed < loss_that_counts(case.data)):
            break
    thinned = [_short(value) for value in curve[:: max(1, len(curve) // _POINTS)]]
    found = {"case": case.name, "setting": setting, "seed": seed, "loss": _short(smoothed), "steps": len(curve)}
    return found | {"curve": thinned, "seconds": round(time.perf_counter() - began, 2)}


def train(only: str = "") -> None:
    """Run everything that the file of results does not hold yet."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # a signal that fades away is slow to compute otherwise, and no larger
    done = {(found["case"], found["setting"], found["seed"]) for found in _read()}
    wanted = [key for key in _iter_runs() if key[0].name.startswith(only)]
    left = [key for key in wanted if (key[0].name, key[1], key[2]) not in done]
    for number, (case, setting, seed) in enumerate(left, 1):
        found = run(case, setting, seed)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        print(
            f"{number}/{len(left)} {case.name} {setting} seed {seed}: {found['loss']} in {found['steps']} steps",
            flush=True,
        )


def _iter_runs() -> Iterator[tuple[Case, str, int]]:
    for seed in SEEDS:
        for setting in SETTINGS:
            for case in cases():
                yield case, setting, seed


def _read() -> list[dict[str, Any]]:
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    return [found for found in map(json.loads, lines) if "case" in found]


@cache
def results() -> dict[str, list[dict[str, Any]]]:
    """Return the recorded runs by case."""
    by_case: dict[str, list[dict[str, Any]]] = {}
    for found in _read():
        by_case.setdefault(found["case"], []).append(found)
    return by_case


def working_settings(case: Case) -> float:
    """Return with how many of the five settings a network learns, averaged over seeds; few is fragile."""
    learnt = [_has_learnt(found, case) for found in results()[case.name]]
    return sum(learnt) / len(SEEDS)


def trains(case: Case) -> bool:
    """Return whether a network learns at its best setting, with either seed."""
    return any(_has_learnt(found, case) for found in results()[case.name])


def _has_learnt(found: dict[str, Any], case: Case) -> bool:
    return found["loss"] is not None and found["loss"] < loss_that_counts(case.data)


def _short(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
