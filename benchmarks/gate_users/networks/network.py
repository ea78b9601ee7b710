"""What the benchmark knows of a network: how it is built, what it takes, and where its blocks are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Network:
    """One network as a user has it.

    Attributes:
        name: What it is called.
        build: Makes it, drawing from torch's global stream.
        shape: Of one sample.
        vocab: Number of different tokens; None for pictures.
        blocks: Finds its block modules, in order.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    vocab: int | None = None
    blocks: Callable[[nn.Module], list[Any]] = lambda model: list(model.blocks)  # type: ignore[arg-type]


class Joined(nn.Module):
    """A block that adds: one line of its own, so that a fault can be planted in it and truth can listen to it."""

    def add(self, skip: Tensor, branch: Tensor, scale: float | Tensor = 1.0) -> Tensor:
        return skip + (branch if isinstance(scale, float) and scale == 1.0 else scale * branch)


def run_all(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x
