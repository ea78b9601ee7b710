"""Faults of weights' size: factors, other initializations, other shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from benchmarks.gate_users.faults.biases import last_layer
from benchmarks.gate_users.faults.fault import (
    COUNTS,
    WEIGHTED,
    Build,
    Fault,
    NotApplicableError,
    change_each,
    in_blocks,
    in_place,
    in_some,
    middle,
    replace_each,
)
from benchmarks.gate_users.networks.network import Network


def _scale(layer: Any, factor: float) -> None:
    layer.weight.data.mul_(factor)


def _one(_model: nn.Module, blocks: Any, factor: float) -> int:
    _scale(last_layer(middle(blocks)), factor)
    return 1


def _all(_model: nn.Module, blocks: Any, factor: float) -> int:
    return in_blocks(blocks, lambda block: change_each(block, WEIGHTED, lambda layer: _scale(layer, factor)))


def _fans(layer: Any) -> tuple[int, int]:
    weight, area = layer.weight, math.prod(layer.weight.shape[2:])
    return weight.shape[1] * area, weight.shape[0] * area


def _fan_out(block: Any) -> int:
    def change(layer: Any) -> None:
        fan_in, fan_out = _fans(layer)
        _scale(layer, math.sqrt(fan_in / fan_out))

    return change_each(block, WEIGHTED, change)


def _to_std(std: Callable[[Any], float]) -> Callable[[Any], int]:
    """Return a mutation that gives a block's weights another standard deviation and leaves their directions."""

    def change(layer: Any) -> None:
        _scale(layer, std(layer) / float(layer.weight.data.std()))

    return lambda block: change_each(block, WEIGHTED, change)


def _fan_in(layer: Any) -> int:
    return _fans(layer)[0]


def _xavier(layer: Any) -> float:
    return math.sqrt(2 / sum(_fans(layer)))


def _dead(_model: nn.Module, blocks: Any, share: float) -> int:
    weight = last_layer(middle(blocks)).weight.data
    weight[: max(1, round(share * len(weight)))] = 0
    return 1


@contextmanager
def _drawn_by(draw: Callable[[Any], None]) -> Iterator[None]:
    kinds: tuple[Any, ...] = (nn.Conv2d, nn.Linear)
    before = [kind.reset_parameters for kind in kinds]

    def reset(layer: Any) -> None:
        draw(layer)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

    try:
        for kind in kinds:
            kind.reset_parameters = reset
        yield
    finally:
        for kind, was in zip(kinds, before, strict=True):
            kind.reset_parameters = was


def _drawn_normal(build: Build, _network: Network, factor: float) -> nn.Module:
    # torch's default draws from a uniform distribution of variance 1/(3 fan_in); these have it times factor².
    with _drawn_by(lambda layer: nn.init.normal_(layer.weight, std=factor / math.sqrt(3 * _fan_in(layer)))):
        return build()


def _drawn_twice(build: Build, _network: Network, factor: float) -> nn.Module:
    # Somebody draws a number more: every weight behind it is another one, and one layer's are scaled besides.
    torch.rand(1)
    model = build()
    _one(model, _network.blocks(model), factor)
    return model


def _grouped(_model: nn.Module, blocks: Any, groups: int) -> int:
    def make(layer: Any) -> nn.Module:
        if layer.groups != 1 or layer.kernel_size == (1, 1) or layer.in_channels % groups:
            return layer
        made = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
                         groups=groups, bias=layer.bias is not None)  # fmt: skip
        made.requires_grad_(layer.weight.requires_grad)
        return made

    before = [layer for block in blocks for layer in block.modules()]
    in_blocks(blocks, lambda block: replace_each(block, frozenset({"Conv2d"}), make))
    after = {id(layer) for block in blocks for layer in block.modules()}
    return sum(id(layer) not in after for layer in before)


def _embedding(model: nn.Module, _blocks: Any, factor: float) -> int:
    return change_each(model, frozenset({"Embedding"}), lambda layer: _scale(layer, factor))


def _position(model: Any, _blocks: Any, factor: float) -> int:
    position = getattr(model, "position", getattr(model, "pos_embed", None))
    if position is None:
        raise NotApplicableError
    position.data.mul_(factor)
    return 1


_SIZE = ("weights", "scale", "factor", "gain")
_FACTORS = (1.1, 1.3, 2.0, 4.0)
FAULTS = [
    Fault("one layer's weights × s", in_place(_one), _FACTORS, _SIZE),
    Fault("one layer's weights × s, s < 1", in_place(_one), (0.9, 0.75, 0.5, 0.1), (*_SIZE, "dead")),
    Fault("all weights × s", in_place(_all), (1.05, 1.15, 1.4142, 2.0), _SIZE),
    Fault("all weights × s, s < 1", in_place(_all), (0.95, 0.85, 0.7071, 0.5), _SIZE),
    Fault("fan-out for fan-in", in_place(in_some(_fan_out)), COUNTS, _SIZE),
    Fault("Xavier's variance", in_place(in_some(_to_std(_xavier))), COUNTS, _SIZE),
    Fault("He's variance", in_place(in_some(_to_std(lambda layer: math.sqrt(2 / _fan_in(layer))))), COUNTS, _SIZE),
    Fault("LeCun's variance", in_place(in_some(_to_std(lambda layer: math.sqrt(1 / _fan_in(layer))))), COUNTS, _SIZE),
    Fault("a normal of 0.02", in_place(in_some(_to_std(lambda _layer: 0.02))), COUNTS, _SIZE),
    Fault("a share of a layer's channels is 0", in_place(_dead), (0.06, 0.15, 0.4, 1.0), (*_SIZE, "dead")),
    Fault("drawn from a normal, std × s", _drawn_normal, (1.1, 1.4142, 2.0, 4.0), _SIZE, redraws=True),
    Fault("one number more is drawn, and one layer × s", _drawn_twice, _FACTORS, _SIZE, redraws=True),
    Fault("convolutions in groups", in_place(_grouped), (2, 4, 8, 16), _SIZE, redraws=True),
    Fault("the embedding × s", in_place(_embedding), (1.1, 1.3, 2.0, 50.0), (*_SIZE, "stem", "input")),
    Fault("positions × s", in_place(_position), (0.0, 5.0, 20.0, 50.0), (*_SIZE, "stem", "input")),
]  # fmt: skip
