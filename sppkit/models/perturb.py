"""The kinds of noise that a weight can have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("multiplicative", "additive-max", "additive-std")


def perturb(weight: Tensor, noise: Tensor, eta: float, kind: str) -> Tensor:
    """Return noisy weights.

    Args:
        weight: W, of any shape.
        noise: xi, of the same shape.
        eta: Strength.
        kind: ``multiplicative``: W (1 + eta xi). ``additive-max``: W + eta max|W| xi. ``additive-std``:
            W + eta std(W) xi, with the population deviation.

    Returns:
        The same shape.
    """
    if kind == "multiplicative":
        return weight * (1 + eta * noise)
    scale = weight.abs().max() if kind == "additive-max" else weight.std(correction=0)
    return weight + eta * scale * noise
