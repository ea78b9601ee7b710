"""A model's arguments, copied for a pass that is only looked at: all of them, or the first samples."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sppkit.joins.operands import iter_tensors

if TYPE_CHECKING:
    from sppkit.joins.joins import Findings

# Of one sample a batch norm on a map of one position has no variance.
_FEW = 2


def few_samples(value: Any) -> tuple[Any, float]:
    """Return a model's arguments with the first samples only, and how many times as many there are.

    All of them where there are not twice as many: a look at more than half saves little, and may be in vain.
    """
    batch = next((tensor.shape[0] for tensor in iter_tensors(value) if tensor.ndim > 1), 0)
    return (_cut(value, batch), batch / _FEW) if batch >= 2 * _FEW else (value, 1.0)


def _cut(value: Any, batch: int) -> Any:
    if isinstance(value, Tensor):
        return value[:_FEW] if value.ndim > 0 and value.shape[0] == batch else value
    if type(value) in {tuple, list}:
        return type(value)(_cut(item, batch) for item in value)
    if type(value) is dict:
        return {key: _cut(item, batch) for key, item in value.items()}
    return value


def copied(value: Any, known: dict[int, Tensor]) -> Any:
    """Copy a model's arguments, so that what it does to them in place is done to the copy."""
    if isinstance(value, Tensor):
        if id(value) not in known:
            known[id(value)] = _copied_tensor(value)
        return known[id(value)]
    if type(value) in {tuple, list}:
        return type(value)(copied(item, known) for item in value)
    if type(value) is dict:
        return {key: copied(item, known) for key, item in value.items()}
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - whatever the user's own class raises; then it is not copied
        return value


def _copied_tensor(tensor: Tensor) -> Tensor:
    detached = tensor.detach()
    if detached.layout is torch.strided and 0 in detached.stride():
        # An expanded tensor stays expanded: what the model does with it depends on its memory.
        once = detached[tuple(slice(1) if stride == 0 else slice(None) for stride in detached.stride())]
        return once.clone().expand(detached.shape)
    # In the measured pass the input may be something to differentiate by: its copy takes the same way.
    return detached.requires_grad_(tensor.requires_grad).clone() if tensor.requires_grad else detached.clone()


def have_grown(few: Findings, all_samples: Findings, times: float) -> bool:
    """Return whether every join's output has so many times the samples, and the same shape otherwise.

    What keeps something from one pass to the next, where that can't be put back, has more.
    """
    shapes = [(a.output.shape, b.output.shape) for a, b in zip(few.joins, all_samples.joins, strict=True)]
    return all(a[1:] == b[1:] and b[0] == a[0] * times for a, b in shapes)
