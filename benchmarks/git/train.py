"""Generators, and networks trained with and without them; every network is one line of a file.

``erm`` draws pictures uniformly. The others, delayed resampling (``drs``), draw classes uniformly in the last 40 % of
the epochs (Cao et al. 2019). Then half of each batch is replaced: ``git`` by what the generator makes of pictures of
classes of at most 100 pictures, ``git-ramp`` with a probability that falls to 0 at 100 pictures, ``git-all`` of all
classes; ``oracle`` by the nuisance itself, applied anew to the untransformed pictures.
"""

from __future__ import annotations

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
from sppkit.inputs.shifts.generative.quality import measure_quality
from sppkit.inputs.shifts.nuisance import choose_nuisance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    Replace = Callable[[Tensor, Tensor, Tensor], Tensor]

RESULTS = Path(__file__).with_name("results.jsonl")
_FEW = ("erm", "drs", "git", "oracle")
# K49-BG-LT's levels, up to 99 of 255, are no hindrance to a network that sees digits of 8 x 8; boxes of 3 pixels would
# fill them.
METHODS = {
    "background:brightest=200": ("erm", "drs", "git", "git-ramp", "git-all", "oracle"),
    "dilate:dilation=2,erosion=2": _FEW,
    "rotate:degrees=60": _FEW,
}
# Of the classes, a set for each.
ORDERS = range(5)
LARGEST, TEST, THRESHOLD = 1000, 60, 100
EPOCHS, DELAY, BATCH = 40, 24, 64
RATE, MOMENTUM, DECAY, DROPS = 0.05, 0.9, 2e-4, (24, 32)
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


def long_tail(nuisance: str, order: int) -> sppkit.LongTail:
    """Return the long-tailed set of one order of the classes."""
    pictures, labels, _, _ = digits()
    return sppkit.long_tailed(pictures, labels, largest=LARGEST, nuisance=nuisance, order=order)


def generator_file(folder: str, nuisance: str, order: int) -> Path:
    """Return where a generator is kept."""
    return Path(folder, f"{nuisance.partition(':')[0]}-{order}.safetensors")


def replacing(method: str, tail: sppkit.LongTail, nuisance: str, order: int, folder: str) -> Replace | None:
    """Return what makes new pictures of a batch, of which set positions and labels are known."""
    if method in {"erm", "drs"}:
        return None
    if method == "oracle":
        return _oracle(tail, nuisance, order)
    sizes = None if method == "git-all" else tail.sizes
    transform = sppkit.GenerativeTransform(
        generator_file(folder, nuisance, order),
        class_sizes=sizes,
        threshold=None if sizes is None else THRESHOLD,
        ramp=method == "git-ramp",
        seed=order,
    )
    return lambda images, labels, _chosen: transform(images, labels)[0]


def _oracle(tail: sppkit.LongTail, nuisance: str, order: int) -> Replace:
    base, calls = digits()[0], iter(range(10**9))

    def replace(images: Tensor, _labels: Tensor, chosen: Tensor) -> Tensor:
        half, call = len(images) // 2, next(calls)
        streams = [f"oracle/{call}/{index}" for index in range(half)]
        made = choose_nuisance(nuisance).draw(base[tail.positions[chosen[-half:]]], order, streams)
        return torch.cat([images[:-half], made])

    return replace


def fit(tail: sppkit.LongTail, replace: Replace | None, order: int, *, delayed: bool) -> nn.Module:
    """Train a network on a long-tailed set."""
    torch.manual_seed(order)
    model = DigitNetwork()
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, DROPS)
    generator = torch.Generator().manual_seed(order)
    for epoch in range(EPOCHS):
        late = delayed and epoch >= DELAY
        for chosen in _iter_epoch(tail, generator, balanced=late):
            images, labels = tail.images[chosen], tail.labels[chosen]
            if late and replace is not None:
                images = replace(images, labels, chosen)
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
        schedule.step()
    return model


def _iter_epoch(tail: sppkit.LongTail, generator: torch.Generator, *, balanced: bool) -> Iterator[Tensor]:
    count = len(tail.labels)
    weights = 1.0 / tail.labels.bincount()[tail.labels] if balanced else torch.ones(count)
    drawn = torch.multinomial(weights, count, replacement=balanced, generator=generator)
    return iter(drawn[: count // BATCH * BATCH].split(BATCH))


def run(nuisance: str, method: str, order: int, folder: str) -> dict[str, Any]:
    """Train a network and measure its invariance, rank by rank: the largest class first."""
    began = time.perf_counter()
    _, _, test, test_labels = digits()
    tail = long_tail(nuisance, order)
    replace = replacing(method, tail, nuisance, order, folder)
    model = fit(tail, replace, order, delayed=method != "erm")
    asked = {"nuisance": nuisance, "draws": DRAWS, "batch_size": 600}
    table = sppkit.invariance(model, test, test_labels, **asked, train_sizes=tail.sizes)
    by_rank = table.set_index("class").loc[list(tail.sizes)]
    columns = ("ekld", "consistency", "confidence", "accuracy", "transformed_accuracy")
    return {
        "nuisance": nuisance,
        "method": method,
        "order": order,
        "sizes": by_rank["train_size"].tolist(),
        **{column: [float(f"{value:.4g}") for value in by_rank[column]] for column in columns},
        "seconds": round(time.perf_counter() - began, 1),
    }


def learn(nuisance: str, order: int, folder: str) -> dict[str, Any]:
    """Train the generator of one set, and measure what it has learned."""
    began = time.perf_counter()
    tail, file = long_tail(nuisance, order), generator_file(folder, nuisance, order)
    generator = sppkit.train_git(tail.images, tail.labels, file=file, seed=order, resume=True, device="cpu")
    quality = {name: float(f"{value:.4g}") for name, value in measure_quality(generator, tail.images)._asdict().items()}
    found = {"nuisance": nuisance, "method": "generator", "order": order, "steps": generator.header.steps}
    return found | quality | {"seconds": round(time.perf_counter() - began, 1)}


def train(folder: str) -> None:
    """Run everything that the file of results does not hold yet."""
    torch.set_num_threads(1)
    done = {_key(found) for found in results()}
    for nuisance, methods in METHODS.items():
        for order in ORDERS:
            left = [method for method in methods if (nuisance, method, order) not in done]
            if left and (
                (nuisance, "generator", order) not in done or not generator_file(folder, nuisance, order).exists()
            ):
                _append(learn(nuisance, order, folder))
            for method in left:
                _append(run(nuisance, method, order, folder))


def results() -> list[dict[str, Any]]:
    """Return what is on record; of two lines of one thing the later."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    return list({_key(found): found for found in map(json.loads, lines)}.values())


def _key(found: dict[str, Any]) -> tuple[str, str, int]:
    return found["nuisance"], found["method"], found["order"]


def _append(line: dict[str, Any]) -> None:
    made_with = {"torch": torch.__version__, "python": platform.python_version(), "processors": os.cpu_count()}
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line | made_with) + "\n")
    shown = {name: line[name] for name in ("nuisance", "method", "order", "seconds")}
    print(shown, line.get("ekld", line.get("style_recovered")), flush=True)
