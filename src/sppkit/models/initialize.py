"""Giving a network that was laid out without memory its memory and its weights."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import torch

from sppkit.streams import fill_normal

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import nn


class _Draw(NamedTuple):
    out: np.ndarray
    name: str
    std: float


def materialize(module: nn.Module, seed: int, on_drawn: Callable[[int], None] | None = None) -> None:
    """Allocate a module that was built on the meta device and give every parameter its initial value.

    Random weights are drawn once, each from the stream of (seed, qualified name), spread over the cores: the result
    does not depend on how many there are. All other values are set by the modules' ``reset_parameters``.

    Args:
        module: A module on the meta device; changed in place to float32 on the CPU.
        seed: The run's seed.
        on_drawn: Called after each drawn parameter with its number of entries.
    """
    draws = []
    for path, child in module.named_modules():
        child.to_empty(device="cpu", recurse=False)
        if hasattr(child, "reset_parameters"):
            child.reset_parameters()
        for name, std in getattr(child, "normal_std", {}).items():
            weight = getattr(child, name).detach().numpy()
            draws.append(_Draw(weight, f"{path}.{name}" if path else name, std))
    _draw_all(draws, seed, on_drawn)


def _draw_all(draws: list[_Draw], seed: int, on_drawn: Callable[[int], None] | None) -> None:
    def draw(item: _Draw) -> int:
        fill_normal(item.out, seed, item.name, item.std)
        return int(item.out.size)

    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        for size in pool.map(draw, draws):
            if on_drawn is not None:
                on_drawn(size)
