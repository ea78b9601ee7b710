"""Networks whose input is lost at once beside what is common to all samples, and outputs that grow by a power."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.trainability import sequences
from benchmarks.trainability.fresh import Row, Scaled
from benchmarks.trainability.further import Function


def positions(deviation: float) -> nn.Module:
    """Return a language model whose positions are drawn with a deviation of their own."""
    model = sequences.Language(3)
    nn.init.normal_(model.positions.weight, std=deviation)
    return model


def squared_relu(depth: int, width: int = 64) -> nn.Sequential:
    """Return an MLP of He's weights behind which every value is squared."""
    layers: list[nn.Module] = []
    for layer in range(depth):
        linear = nn.Linear(64 if layer == 0 else width, width)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
        layers += [linear, Function(_square)]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def _square(x: Tensor) -> Tensor:
    return torch.relu(x) ** 2


def _small(times: float) -> nn.Module:
    layers: list[nn.Module] = [layer for _ in range(3) for layer in (nn.Linear(64, 64), nn.ReLU())]
    return Scaled(times, nn.Sequential(*layers, nn.Linear(64, 10)))


def iter_lost() -> Iterator[Row]:
    """Yield the networks."""
    kinds: tuple[tuple[str, str, tuple[float, ...], Callable[..., nn.Module]], ...] = (
        ("positions", "text", (1.0, 10.0, 100.0, 1000.0), positions),
        ("patches-times", "image", (0.1, 0.01, 1e-3, 1e-4), lambda times: Scaled(times, sequences.Vision(3))),
        ("squared-relu", "flat", (2, 3, 4), squared_relu),
        ("small-input", "flat", (0.1, 1e-3, 1e-4, 1e-5), _small),
    )
    for kind, data, values, make in kinds:
        for value in values:
            yield kind, data, value, partial(make, value)
