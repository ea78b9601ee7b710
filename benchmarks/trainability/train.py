"""Training: five usual optimizer settings, two seeds, at most 120 steps each; every run is one line of a file.

A network that learns nothing so soon has 400 steps at the setting that came furthest: slow is not sick.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import platform
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from benchmarks.trainability.cases import Case, cases
from benchmarks.trainability.data import blind_loss, loss_that_counts, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

RESULTS = Path(__file__).with_name("results.jsonl")
SETTINGS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adam-3e-3": lambda parameters: torch.optim.Adam(parameters, lr=3e-3),
    "sgd-0.01": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
    "sgd-0.1": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adam-1e-2": lambda parameters: torch.optim.Adam(parameters, lr=1e-2),
    "adam-1e-3": lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
}
SEEDS = (0, 1)
STEPS, BATCH = 120, 32
# For what has learnt nothing by then: seven times through the digits, at the setting that came furthest.
LONGER = 400
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
    found = {"case": case.name, "setting": setting, "seed": seed, "budget": steps}
    found |= {"loss": _short(smoothed), "steps": len(curve)}
    return found | {"curve": thinned, "seconds": round(time.perf_counter() - began, 2)}


def train(only: str = "", steps: int = STEPS) -> None:
    """Run everything that the file of results does not hold yet.

    Args:
        only: What the names of cases begin with.
        steps: ``STEPS`` for every case at every setting; ``LONGER`` for what has learnt nothing in ``STEPS``.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # a signal that fades away is slow to compute otherwise, and no larger
    done = {_key(found) for found in _read()}
    runs = _iter_runs() if steps == STEPS else _iter_longer()
    wanted = [(case, setting, seed) for case, setting, seed in runs if case.name.startswith(only)]
    left = [run_ for run_ in wanted if (run_[0].name, *run_[1:], steps) not in done]
    if left:
        _append(environment())
    for number, (case, setting, seed) in enumerate(left, 1):
        found = run(case, setting, seed, steps)
        _append(found)
        print(
            f"{number}/{len(left)} {case.name} {setting} seed {seed}: {found['loss']} in {found['steps']} steps",
            flush=True,
        )


def _key(found: dict[str, Any]) -> tuple[str, str, int, int]:
    return found["case"], found["setting"], found["seed"], found.get("budget", STEPS)


def _append(line: dict[str, Any]) -> None:
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def environment() -> dict[str, Any]:
    """Return what the runs that follow it in the file were made with."""
    made_with = {"torch": torch.__version__, "python": platform.python_version(), "processors": os.cpu_count()}
    return {"environment": made_with | {"date": dt.datetime.now(tz=dt.UTC).date().isoformat()}}


def _iter_runs() -> Iterator[tuple[Case, str, int]]:
    for case in cases():
        for seed in SEEDS:
            for setting in SETTINGS:
                yield case, setting, seed


def _iter_longer() -> Iterator[tuple[Case, str, int]]:
    still = [case for case in cases() if case.name in results() and not working_settings(case)]
    for case in still:
        yield case, _furthest(case), SEEDS[0]


def _furthest(case: Case) -> str:
    """Return the setting with the lowest loss of a seed; a run that broke is behind all others."""
    lowest = dict.fromkeys(SETTINGS, math.inf)
    for found in _short_runs(case):
        if found["loss"] is not None:
            lowest[found["setting"]] = min(lowest[found["setting"]], found["loss"])
    return min(lowest, key=lambda setting: lowest[setting])


def _read() -> list[dict[str, Any]]:
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    return [found for found in map(json.loads, lines) if "case" in found]


@cache
def results() -> dict[str, list[dict[str, Any]]]:
    """Return the recorded runs by case."""
    by_case: dict[str, list[dict[str, Any]]] = {}
    for found in {_key(found): found for found in _read()}.values():
        by_case.setdefault(found["case"], []).append(found)
    return by_case


def working_settings(case: Case) -> float:
    """Return with how many of the five settings a network soon learns: few are fragile.

    A setting counts by the share of its seeds that learn; a second seed is not on record for every case.
    """
    learnt: dict[str, list[bool]] = {}
    for found in _short_runs(case):
        learnt.setdefault(found["setting"], []).append(_has_learnt(found, case))
    return sum(sum(seeds) / len(seeds) for seeds in learnt.values())


def trains(case: Case) -> bool:
    """Return whether a network learns at its best setting, with either seed, soon or in 400 steps."""
    return any(_has_learnt(found, case) for found in results()[case.name])


def lowest_loss(case: Case) -> float:
    """Return the lowest smoothed loss of all runs, over the loss of the best blind guess; infinite where all broke."""
    losses = [found["loss"] for found in results()[case.name] if found["loss"] is not None]
    return min(losses, default=math.inf) / blind_loss(case.data)


def is_on_record(case: Case, seeds: Collection[int] = SEEDS[:1]) -> bool:
    """Return whether every setting was tried with these seeds."""
    wanted = {(setting, seed) for setting in SETTINGS for seed in seeds}
    return case.name in results() and wanted <= {(found["setting"], found["seed"]) for found in _short_runs(case)}


def _short_runs(case: Case) -> list[dict[str, Any]]:
    return [found for found in results()[case.name] if found.get("budget", STEPS) == STEPS]


def _has_learnt(found: dict[str, Any], case: Case) -> bool:
    return found["loss"] is not None and found["loss"] < loss_that_counts(case.data)


def _short(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
