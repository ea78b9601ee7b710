"""Faults of the addition: factors on the branch and the skip, dropout, LayerScale, a skip that is missing."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.gate_users.faults.fault import COUNTS, Fault, in_blocks, in_place, in_some, middle
from benchmarks.gate_users.networks.network import Joined

# (skip, scaled branch) to sum.
Join = Callable[[Tensor, Tensor], Tensor]


def add_by(block: Any, join: Join) -> int:
    if not isinstance(block, Joined):
        return 0

    def add(_block: Any, skip: Tensor, branch: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        return join(skip, branch if isinstance(scale, float) and scale == 1.0 else scale * branch)

    block.add = types.MethodType(add, block)  # type: ignore[method-assign]
    return 1


def _in_all(join: Callable[[Any], Join]) -> Any:
    def mutate(_model: nn.Module, blocks: Any, strength: Any) -> int:
        return in_blocks(blocks, lambda block: add_by(block, join(strength)))

    return in_place(mutate)


def _in_one(join: Callable[[Any], Join]) -> Any:
    return in_place(lambda _model, blocks, strength: add_by(middle(blocks), join(strength)))


def _alpha(_model: nn.Module, blocks: Any, factor: float) -> int:
    scaled = [block for block in blocks if hasattr(block, "alpha")]
    for block in scaled:
        block.alpha *= factor
    return len(scaled)


def _layer_scale(_model: nn.Module, blocks: Any, value: float) -> int:
    scaled = [block for block in blocks if hasattr(block, "layer_scale") or hasattr(block, "gamma")]
    for block in scaled:
        (block.layer_scale if hasattr(block, "layer_scale") else block.gamma).data.fill_(value)
    return len(scaled)


def _stochastic_depth(rate: float) -> Join:
    def join(skip: Tensor, branch: Tensor) -> Tensor:
        kept = torch.rand(len(branch), *[1] * (branch.dim() - 1)) >= rate
        return skip + branch * kept / (1 - rate)

    return join


_ADDITION = ("alpha", "skip", "factor", "scale")
_FACTORS = (1.1, 1.3, 2.0, 4.0)
_DROP = (0.05, 0.1, 0.3, 0.5)
FAULTS = [
    Fault("alpha × s", in_place(_alpha), (1.1, 1.3, 2.0, 5.0), _ADDITION),
    Fault("LayerScale's value", in_place(_layer_scale), (1e-4, 1e-2, 0.3, 1.0), _ADDITION),
    Fault("branch × s in every block", _in_all(lambda s: lambda skip, branch: skip + s * branch), _FACTORS, _ADDITION),
    Fault("branch × s in one block", _in_one(lambda s: lambda skip, branch: skip + s * branch), _FACTORS, _ADDITION),
    Fault("branch × s in every block, s < 1", _in_all(lambda s: lambda skip, branch: skip + s * branch),
          (0.9, 0.75, 0.5, 0.0), (*_ADDITION, "dropout", "dead")),
    Fault("skip × s in one block", _in_one(lambda s: lambda skip, branch: s * skip + branch), (1.05, 1.15, 1.4, 2.0),
          _ADDITION),
    Fault("skip × s in every block", _in_all(lambda s: lambda skip, branch: s * skip + branch),
          (0.97, 0.9, 0.7071, 0.5), _ADDITION),
    Fault("the skip is missing", in_place(in_some(lambda block: add_by(block, lambda _skip, branch: branch + 0))),
          COUNTS, _ADDITION),
    Fault("dropout on the branch", _in_all(lambda p: lambda skip, branch: skip + functional.dropout(branch, p)), _DROP,
          (*_ADDITION, "dropout")),
    Fault("stochastic depth", _in_all(_stochastic_depth), (0.1, 0.2, 0.5, 0.8), (*_ADDITION, "dropout")),
    Fault("the branch is detached", in_place(in_some(
        lambda block: add_by(block, lambda skip, branch: skip + branch.detach()))), COUNTS, _ADDITION),
]  # fmt: skip
