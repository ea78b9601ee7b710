"""Norms of a block's parameters, of their gradients, and of what a training step changes in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sppkit.stats.doubles import double

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the root of the sum of all squares of several tensors.

    Args:
        tensors: At least one, any shapes and floating types.

    Returns:
        Shape (), float64, on the first one's device (for MPS: on the CPU).
    """
    # Half precision would overflow at 65504: its squares are summed in float32.
    norms = [torch.linalg.vector_norm(each, dtype=torch.promote_types(each.dtype, torch.float32)) for each in tensors]
    return torch.stack([double(each.to(norms[0].device)) for each in norms]).square().sum().sqrt()


def update_to_weight(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    """Return how far a step moved parameters, over how large they were: norm of the change over the norm before.

    About 1e-3 is usual for a training at a good learning rate; 1e-1 throws away what was there (Karpathy, 2022, lecture
    "makemore 3"). Infinite for parameters that were 0 and changed, nan for those that are 0.

    Args:
        before: Parameters before the step.
        after: The same after it, in the same order.

    Returns:
        Shape (), float64, on their device (for MPS: on the CPU).
    """
    return norm([b.to(torch.float32) - a.to(torch.float32) for a, b in zip(before, after, strict=True)]) / norm(before)
