"""The kinds of noise that a weight can have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("multiplicative", "additive-max", "additive-std")


def perturb(weight: Tensor, noise: Tensor, eta: float, kind: str) -> Tensor:
    """Return noisy weights."""
    if kind == "multiplicative":
        return weight * (1 + eta * noise)
    scale = weight.abs().max() if kind == "additive-max" else weight.std(correction=0)
    return weight + eta * scale * noise
