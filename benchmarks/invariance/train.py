"""Training by three methods on long-tailed digits; every network is one line of a file.

``erm`` draws pictures uniformly. ``drs``, delayed resampling, draws classes uniformly in the second half (Cao et al.
2019). ``drs+oracle`` replaces half of each batch of the second half by other base pictures of the set under the
nuisance itself, drawn anew each time: what a generative transformation could give at best (Zhou et al. 2022,
arXiv:2203.09739).
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

import sppkit
from benchmarks.invariance.network import DigitNetwork
from sppkit.inputs.shifts.nuisance import choose_nuisance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

RESULTS = Path(__file__).with_name("results.jsonl")
# What fits pictures of 8 x 8: boxes of 3 and 4 pixels would fill them.
NUISANCES = ("rotate", "background", "dilate:dilation=2,erosion=2")
METHODS = ("erm", "drs", "drs+oracle")
# A set of which every class has five base pictures, so that only the number of transformations tells classes apart.
FEW_BASES = 5
ORDERS = range(10)
LARGEST, TEST = 100, 60
EPOCHS, DELAY, BATCH = 60, 30, 32
RATE, MOMENTUM, DECAY, DROP = 0.05, 0.9, 5e-4, 45
DRAWS = 16


@cache
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return pictures (N, 1, 8, 8) in [0, 1] and their digits, for training and for testing."""
    bunch = load_digits()
    pictures = torch.tensor(bunch.images[:, None] / 16, dtype=torch.float32)
    labels = torch.tensor(bunch.target)
    shuffled = torch.from_numpy(np.random.Generator(np.random.PCG64(0)).permutation(len(labels)))
    test = torch.cat([shuffled[labels[shuffled] == digit][:TEST] for digit in range(10)])
    train = shuffled[~torch.isin(shuffled, test)]
    return pictures[train], labels[train], pictures[test], labels[test]


def fit(tail: sppkit.LongTail, method: str, nuisance: str, seed: int) -> nn.Module:
    """Train a network on a long-tailed set."""
    torch.manual_seed(seed)
    model = DigitNetwork()
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, weight_decay=DECAY)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(EPOCHS):
        optimizer.param_groups[0]["lr"] = RATE * (0.1 if epoch >= DROP else 1)
        for images, labels in _iter_epoch(tail, method, nuisance, epoch, seed, generator):
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
    return model


def _iter_epoch(
    tail: sppkit.LongTail, method: str, nuisance: str, epoch: int, seed: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    count = len(tail.labels)
    delayed = method != "erm" and epoch >= DELAY
    weights = 1.0 / tail.labels.bincount()[tail.labels] if delayed else torch.ones(count)
    drawn = torch.multinomial(weights, count, replacement=delayed, generator=generator)
    for step, chosen in enumerate(drawn.split(BATCH)):
        images, labels = tail.images[chosen], tail.labels[chosen]
        if method == "drs+oracle" and delayed:
            half = len(chosen) // 2
            others = torch.multinomial(weights, half, replacement=True, generator=generator)
            streams = [f"oracle/{epoch}/{step}/{index}" for index in range(half)]
            # Of what the set was made of: a background that is replaced already would not be replaced again.
            made = choose_nuisance(nuisance).draw(digits()[0][tail.positions[others]], seed, streams)
            images, labels = images.clone(), labels.clone()
            images[len(chosen) - half :], labels[len(chosen) - half :] = made, tail.labels[others]
        yield images, labels


def run(nuisance: str, method: str, order: int, bases: int | None = None) -> dict[str, Any]:
    """Train a network and measure its invariance.

    Returns:
        What was measured, rank by rank: the largest class first.
    """
    began = time.perf_counter()
    pictures, labels, test, test_labels = digits()
    tail = sppkit.long_tailed(pictures, labels, largest=LARGEST, nuisance=nuisance, order=order, bases=bases)
    model = fit(tail, method, nuisance, seed=order)
    asked = {"nuisance": nuisance, "draws": DRAWS, "batch_size": 600}
    table = sppkit.invariance(model, test, test_labels, **asked, train_sizes=tail.sizes)
    blocks = sppkit.invariance_by_block(model, test, test_labels, **asked)
    by_rank = table.set_index("class").loc[list(tail.sizes)]
    columns = ("ekld", "ekld_se", "ekld_median", "consistency", "confidence", "accuracy", "transformed_accuracy")
    return {
        "nuisance": nuisance,
        "method": method,
        "order": order,
        "bases": bases,
        "classes": list(tail.sizes),
        "sizes": by_rank["train_size"].tolist(),
        **{column: [_short(value) for value in by_rank[column]] for column in columns},
        "blocks": {
            name: [_short(own.set_index("class").loc[label, "signal_to_shift"]) for label in tail.sizes]
            for name, own in blocks.dropna(subset="class").groupby("name", sort=False)
        },
        "seconds": round(time.perf_counter() - began, 1),
    }


def train() -> None:
    """Run everything that the file of results does not hold yet."""
    torch.set_num_threads(1)
    done = {_key(found) for found in results()}
    wanted = [(nuisance, method, order, None) for nuisance in NUISANCES for order in ORDERS for method in METHODS]
    wanted += [(nuisance, METHODS[0], order, FEW_BASES) for nuisance in NUISANCES for order in ORDERS]
    left = [key for key in wanted if key not in done]
    if left:
        _append(environment())
    for number, key in enumerate(left, 1):
        found = run(*key)
        _append(found)
        print(f"{number}/{len(left)} {' '.join(map(str, key))}: {found['ekld']} in {found['seconds']} s", flush=True)


def results() -> list[dict[str, Any]]:
    """Return the networks on record."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    return [found for found in map(json.loads, lines) if "method" in found]


def environment() -> dict[str, Any]:
    """Return what the networks that follow it in the file were made with."""
    made_with = {"torch": torch.__version__, "python": platform.python_version(), "processors": os.cpu_count()}
    return {"environment": made_with | {"date": dt.datetime.now(tz=dt.UTC).date().isoformat()}}


def _key(found: dict[str, Any]) -> tuple[str, str, int, int | None]:
    return found["nuisance"], found["method"], found["order"], found["bases"]


def _append(line: dict[str, Any]) -> None:
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _short(value: float) -> float:
    return float(f"{value:.4g}")
