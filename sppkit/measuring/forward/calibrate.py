"""Running statistics: whether they mean anything yet, and giving them a meaning in few batches."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of running statistics that move by a tenth of the way with each batch, 0.5 % is left of where they began.
BATCHES = 50


def is_uncalibrated(module: nn.Module) -> bool:
    """Return whether a module has running statistics, still at their initial 0 and 1."""
    mean, variance = getattr(module, "running_mean", None), getattr(module, "running_var", None)
    if not isinstance(mean, torch.Tensor) or not isinstance(variance, torch.Tensor):
        return False
    return not bool(mean.any()) and bool((variance == 1).all())


def batches_needed(model: nn.Module, available: int) -> int:
    """Return how many batches, in ``averaging``, give all running statistics a meaning."""
    uncalibrated = [module for module in model.modules() if is_uncalibrated(module)]
    if not uncalibrated:
        return 0
    return available if all(isinstance(module, _BatchNorm) for module in uncalibrated) else max(BATCHES, available)


@contextmanager
def averaging(model: nn.Module) -> Iterator[None]:
    """Let torch's own batch normalization average the batches that pass in train mode, each with the same weight.

    Only where nothing was averaged before. In train mode no layer sees the running statistics of another, so that one
    pass over the data gives all of them.
    """
    modules = [item for item in model.modules() if isinstance(item, _BatchNorm) and is_uncalibrated(item)]
    momenta = [module.momentum for module in modules]
    for module in modules:
        module.momentum = None
        if module.num_batches_tracked is not None:
            module.num_batches_tracked.zero_()
    try:
        yield
    finally:
        for module, momentum in zip(modules, momenta, strict=True):
            module.momentum = momentum
