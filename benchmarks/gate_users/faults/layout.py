"""Faults of what surrounds the layers: pools, padding, strides, attention, the mask, the block's own output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gate_users.faults.fault import (
    COUNTS,
    Fault,
    change_each,
    in_place,
    in_some,
    iter_places,
    middle,
    replace_each,
    some,
)

_POOLS = frozenset({"MaxPool2d", "AvgPool2d"})
_CONV = frozenset({"Conv2d"})


def _other_pool(pool: Any) -> nn.Module:
    made = nn.AvgPool2d if isinstance(pool, nn.MaxPool2d) else nn.MaxPool2d
    return made(pool.kernel_size, pool.stride, pool.padding)


class Between(nn.Module):
    """A mixture of a pool and the other one."""

    def __init__(self, pool: nn.Module, share: float) -> None:
        super().__init__()
        self.pool, self.other, self.share = pool, _other_pool(pool), share

    def forward(self, x: Tensor) -> Tensor:
        return (1 - self.share) * self.pool(x) + self.share * self.other(x)


def _pools(model: nn.Module, _blocks: Any, share: float) -> int:
    return replace_each(model, _POOLS, lambda pool: _other_pool(pool) if share == 1 else Between(pool, share))


def _circular(block: Any) -> int:
    padded = [place.module for place in iter_places(block, _CONV) if place.module.padding[0] > 0]
    for layer in padded:
        layer.padding_mode = "circular"
        layer._reversed_padding_repeated_twice = [side for side in reversed(layer.padding) for _ in range(2)]
    return len(padded)


def _stride(_model: nn.Module, blocks: Any, count: int) -> int:
    able = [block for block in blocks if getattr(block, "conv1", None) is not None and block.conv1.stride == (2, 2)]
    for block in some(able, count) if able else []:
        block.conv1.stride, block.conv2.stride = (1, 1), (2, 2)
    return len(able)


def _attention(block: Any, change: Any) -> int:
    return change_each(block, frozenset({"Attention"}), change)


def _scale(_model: nn.Module, blocks: Any, factor: float) -> int:
    def change(attention: Any) -> None:
        attention.scale *= factor

    return sum(_attention(block, change) for block in blocks)


def _without_mask(block: Any) -> int:
    masked = [module for module in block.modules() if getattr(module, "causal", False)]
    for module in masked:
        module.causal = False
    return len(masked)


def _output(_model: nn.Module, blocks: Any, factor: float) -> int:
    middle(blocks).register_forward_hook(lambda _module, _inputs, output: output * factor)
    return 1


def _rounded(block: Any) -> int:
    block.register_forward_hook(lambda _module, _inputs, output: output.to(torch.float8_e4m3fn).float())
    return 1


FAULTS = [
    Fault("max-pool for average pool or the other way", in_place(_pools), (0.1, 0.3, 0.6, 1.0),
          ("pool", "stem", "mean")),
    Fault("circular padding", in_place(in_some(_circular)), COUNTS, ("padding",)),
    Fault("the stride at the other convolution", in_place(_stride), COUNTS, ("skip",)),
    Fault("attention's scale × s", in_place(_scale), (1.5, 2.828, 30.0, 300.0), ("factor", "scale")),
    Fault("the causal mask is missing", in_place(in_some(_without_mask)), COUNTS, ("factor", "scale")),
    Fault("a block's output × s", in_place(_output), (1.05, 1.15, 1.5, 4.0),
          ("factor", "scale", "skip", "alpha", "gain", "weights")),
    Fault("a block's output in float8", in_place(in_some(_rounded)), COUNTS, ("overflow",)),
]  # fmt: skip
