"""A digest of a network's parameters and buffers: enough to tell which of them another run has as well.

Each is told by a few numbers that survive another device, library or order of summation: how many values, their mean
and standard deviation, and three of the values themselves. Draws that were only scaled or shifted can be told by them
from draws that were made anew (``sppkit.gate.weights``).
"""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor, nn

# A record with more would be larger than its table: 500 tensors of four seeds are 100 kB.
MOST_TENSORS = 500
_DIGITS = 9  # as many as tell one float32 from another


def digest_weights(model: nn.Module) -> dict[str, str]:
    """Return what tells a network's weights from another's."""
    digests: dict[str, str] = {}
    for name, tensor in _iter_tensors(model):
        if len(digests) == MOST_TENSORS:
            break
        digests[name] = _digest(tensor)
    return digests


def merge_digests(digests: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the digests of several seeds by tensor."""
    if len({tuple(digest) for digest in digests}) != 1:
        return {}
    by_name = {name: [digest[name] for digest in digests] for name in digests[0]}
    return {name: found[:1] if len(set(found)) == 1 else found for name, found in by_name.items()}


def _iter_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        is_plain = tensor.layout is torch.strided and tensor.is_floating_point() and not tensor.is_meta
        if is_plain and tensor.numel() and name.isprintable():
            yield name, tensor.detach()


def _digest(tensor: Tensor) -> str:
    values = [float(tensor.flatten()[place]) for place in _places(tensor.numel())]
    mean = float(tensor.sum(dtype=torch.float64)) / tensor.numel()
    norm = float(torch.linalg.vector_norm(tensor, dtype=torch.float64))
    variance = max(0.0, norm * norm / tensor.numel() - mean * mean)
    # Rounding leaves 1e-16 of the squared norm; a tensor that is all one value has one.
    constant = len(set(values)) == 1 and variance <= 1e-12 * mean * mean
    told = values[:1] if constant else [mean, math.sqrt(variance), *values]
    return " ".join([str(tensor.numel()), *(f"{value:.{_DIGITS}g}" for value in told)])


def _places(count: int) -> list[int]:
    return sorted({0, count // 2, count - 1})
