"""Whether a change matters, computed in float64 by code that shares nothing with the package's statistics.

The benchmark listens to the networks' own blocks: to the lines that add, and to the blocks' outputs where nothing is
added. What a channel is, is told by the number of axes: the second of four, the last of three.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.gate_users.factory import Plant, build, planted
from benchmarks.gate_users.interface import draw_input, seeded
from benchmarks.gate_users.networks.network import Joined, Network

# What matters: a share of the squared mean that moves by so much, a variance or an addition that moves by so much.
SHARE, FACTOR = 0.1, 1.25
# An addition matters where it moves the block's variance by so much.
_FELT = 0.01


class Point(NamedTuple):
    """What was seen at one place: squared mean, variance, and of an addition its branch, its skip and its scale².

    The branch is taken before it is scaled.
    """

    mean: float
    variance: float
    branch: float = math.nan
    skip: float = math.nan
    scale: float = math.nan

    @property
    def share(self) -> float:
        return self.mean / (self.mean + self.variance) if self.mean + self.variance > 0 else 0.0

    @property
    def addition(self) -> float:
        return (self.variance - self.skip) / self.branch if self.branch > 0 else math.nan


class Truth(NamedTuple):
    """Whether a change matters, by how much, and in which statistic: ``size`` is 1 where it just matters."""

    matters: bool
    size: float
    statistic: str
    place: int


def moments(x: Tensor) -> tuple[float, float]:
    """Return the squared mean and the variance of a channel, averaged over channels."""
    channel = 1 if x.dim() == 4 else x.dim() - 1
    others = [axis for axis in range(x.dim()) if axis != channel]
    x = x.detach().double()
    return float(x.mean(others).square().mean()), float(x.var(others, correction=0).mean())


def listen(network: Network, seed: int, plant: Plant | None) -> list[Point]:
    """Return what is seen in the forward pass of one seed, in order."""
    points: list[Point] = []
    with seeded(seed), planted(plant):
        model = build(network.name)
    model.train()
    blocks = network.blocks(model)
    with seeded(seed), torch.no_grad(), _heard(blocks, points):
        model(draw_input(network, seed))
    return points


@contextmanager
def _heard(blocks: Sequence[nn.Module], points: list[Point]) -> Iterator[None]:
    if not isinstance(blocks[0], Joined):
        handles = [block.register_forward_hook(lambda _m, _i, out: points.append(_point(out))) for block in blocks]
    else:
        handles = [blocks[0].register_forward_pre_hook(lambda _m, inputs: points.append(_point(inputs[0])))]
        for block in blocks:
            block.add = _listening(block.add, points)  # type: ignore[assignment]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _point(out: Any) -> Point:
    return Point(*moments(out if isinstance(out, Tensor) else out[0]))


def _listening(add: Callable[..., Tensor], points: list[Point]) -> Callable[..., Tensor]:
    def heard(skip: Tensor, branch: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        total = add(skip, branch, scale)
        square = float(torch.as_tensor(scale).double().square().mean())
        points.append(Point(*moments(total), moments(branch)[1], moments(skip)[1], square))
        return total

    return heard


def compare(clean: Sequence[Sequence[Point]], faulty: Sequence[Sequence[Point]]) -> Truth:
    """Say whether two networks differ, each heard under the same seeds: seeds x places."""
    if len({len(points) for points in [*clean, *faulty]}) > 1:
        return Truth(True, math.inf, "number of additions", 0)
    sizes = [
        (size, statistic, place)
        for place, (before, after) in enumerate(zip(zip(*clean, strict=True), zip(*faulty, strict=True), strict=True))
        for statistic, size in _sizes(before, after)
    ]
    size, statistic, place = max(sizes)
    return Truth(size >= 1, size, statistic, place)


def _sizes(before: Sequence[Point], after: Sequence[Point]) -> Iterator[tuple[str, float]]:
    if not all(math.isfinite(point.mean + point.variance) for point in after):
        yield "nonfinite", math.inf
        return
    yield "share", abs(_mean(point.share for point in after) - _mean(point.share for point in before)) / SHARE
    for name in ("variance", "branch"):
        yield name, _moved([getattr(point, name) for point in before], [getattr(point, name) for point in after])
    old, new = (_mean(point.addition for point in side) for side in (before, after))
    change = abs(new - old)
    felt = change * _mean(point.branch / max(point.variance, 1e-300) for point in after)
    if math.isfinite(change) and felt >= _FELT:
        yield "addition", change / ((FACTOR - 1) * max(abs(old), before[0].scale))


def _moved(before: Sequence[float], after: Sequence[float]) -> float:
    """Return the mean log ratio in units of what matters; 0 where there is nothing, infinite where one side is 0."""
    if any(map(math.isnan, (*before, *after))) or (max(before) == 0 and max(after) == 0):
        return 0.0
    if min(before) == 0 or min(after) == 0:
        return math.inf
    logs = [math.log(new / old) for old, new in zip(before, after, strict=True)]
    return abs(_mean(iter(logs))) / math.log(FACTOR)


def _mean(values: Iterator[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
