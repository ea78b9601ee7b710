"""Equi-normalization: the member of a network's rescaling class with the smallest weights.

Stock et al. 2019, arXiv:1902.10416. Behind ReLU a hidden unit can be scaled by d > 0 where it is written and by 1/d
where it is read: the network computes the same. Letters, for one unit: l is the norm of all weights that write it, r of
all that read it. The step d = √(r / (c l)) makes r = c l; repeated over all units it converges to the one network of
the class that minimizes the sum of the weights' p-th powers (for c = 1).

Exact with batch normalization: there the unit is written by its scale and offset, and the weights before it, which
normalization makes scale-free, are left alone. The released code ignores the normalizer, scales the weights before it,
and so changes the function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sppkit.errors import UsageError
from sppkit.models.enorm_settings import ENORM_SETTINGS
from sppkit.models.junctions import find_junctions
from sppkit.models.optimizer_state import GradientMemory

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sppkit.models.junctions import Junction

# Enough for networks of a few dozen layers; balancing spreads from layer to layer, one layer per cycle.
CYCLES = 1000
# A float type's rounding, times the number of roundings in a norm and a scaling.
_ROUNDINGS = 8


@dataclass(frozen=True)
class Balance:
    """What ``equi_normalize`` did.

    Attributes:
        cycles: How many sweeps it took.
        converged: Whether the last one changed nothing beyond rounding.
        before: Sum of the p-th powers of all weights that take part, before.
        after: The same, after.
        dead: How many units could not be balanced because all weights on one side are 0.
    """

    cycles: int
    converged: bool
    before: float
    after: float
    dead: int

    @property
    def gap(self) -> float:
        """By what share the sum was larger than it had to be: 0 for a balanced network."""
        return self.before / self.after - 1 if self.after else 0.0


def equi_normalize(
    model: nn.Module,
    *,
    cycles: int = CYCLES,
    c: float = 1.0,
    p: float = 2.0,
    junctions: Sequence[Junction] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> Balance:
    """Balance the weights of a network in place; what it computes stays the same.

    Args:
        model: A named architecture, or an ``nn.Sequential`` (of sequences, too) of linear, convolutional,
            batch-normalizing, pooling and positively homogeneous layers.
        cycles: At most so many sweeps over all hidden units; one after each training step, with the optimizer's
            momentum rescaled along, is what the paper does.
        c: Wanted ratio of r to l; the paper's experiments have 1.1 for convolutions, 1.2 for linear layers.
        p: Power of the norms.
        junctions: Where units are written and read, for any other model; found in the model where it is None.
            ``sppkit.models.junctions`` finds them, also without the last pair or as released.
        optimizer: SGD, Adam or AdamW of these weights. What it remembers of past gradients is rescaled as gradients
            are: a weight times d has a gradient divided by d.

    Returns:
        What was done.

    Raises:
        UsageError: If an argument is illegal, or the model or the optimizer is not of these kinds.
    """
    given = {"c": c, "cycles": cycles, "p": p}
    c, cycles, p = (ENORM_SETTINGS[name](name, value) for name, value in given.items())
    found = find_junctions(model) if junctions is None else junctions
    if not found:
        raise UsageError("there is nothing to balance: no unit is both written and read.")
    memory = None if optimizer is None else GradientMemory(optimizer)
    tensors = list({id(tensor): tensor for item in found for tensor in (*item.writers, *item.readers)}.values())
    tolerance = _ROUNDINGS * max(torch.finfo(tensor.dtype).eps for tensor in tensors)
    before = _sum_of_powers(tensors, p)
    done, change = 0, float("inf")
    while done < cycles and change > tolerance:
        change = max(_balance(junction, c, p, memory) for junction in found)
        done += 1
    dead = sum(int((~_alive(junction, p)).sum()) for junction in found)
    return Balance(done, change <= tolerance, before, _sum_of_powers(tensors, p), dead)


@torch.no_grad()
def _balance(junction: Junction, c: float, p: float, memory: GradientMemory | None) -> float:
    # One step; how far it went, relatively, tells when to stop.
    written, read = _norms(junction, p)
    alive = (written > 0) & (read > 0)
    d = torch.where(alive, torch.sqrt(read / (c * written)), 1.0)
    for tensor in (*junction.writers, *junction.biases):
        _scale(tensor, _along(d, tensor, 0), memory)
    for tensor in junction.readers:
        _scale(tensor, _along(1 / d, tensor, 1), memory)
    return float((d - 1).abs().max())


def _scale(tensor: Tensor, factor: Tensor, memory: GradientMemory | None) -> None:
    tensor.mul_(factor.to(tensor.dtype))
    if memory is not None:
        memory.follow(tensor, factor)


@torch.no_grad()
def _alive(junction: Junction, p: float) -> Tensor:
    written, read = _norms(junction, p)
    return (written > 0) & (read > 0)


def _norms(junction: Junction, p: float) -> tuple[Tensor, Tensor]:
    """Return l and r of every unit, in float64."""
    return _norm(junction.writers, 0, p), _norm(junction.readers, 1, p)


def _norm(tensors: Iterable[Tensor], axis: int, p: float) -> Tensor:
    powers = [tensor.double().movedim(axis, 0).flatten(1).abs().pow(p).sum(1) for tensor in map(_matrix, tensors)]
    return torch.stack(powers).sum(0).pow(1 / p)


def _matrix(tensor: Tensor) -> Tensor:
    # The scales of a normalizer are a column.
    return tensor[:, None] if tensor.ndim == 1 else tensor


def _along(d: Tensor, tensor: Tensor, axis: int) -> Tensor:
    return d.view([-1 if index == axis else 1 for index in range(tensor.ndim)])


def _sum_of_powers(tensors: Iterable[Tensor], p: float) -> float:
    return sum(float(tensor.detach().double().abs().pow(p).sum()) for tensor in tensors)
