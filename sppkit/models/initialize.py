"""Giving a network that was laid out without memory its memory and its weights."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from sppkit.machine.mapped_memory import ALIGNMENT, Pieces
from sppkit.streams import fill_normal, fill_uniform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# Weights lie in pieces of this many bytes: many enough for a huge page, and few enough to be freed when a part is.
_PIECE = 2**25
_FLOAT = np.dtype(np.float32)


class _Draw(NamedTuple):
    out: np.ndarray
    name: str
    fill: Callable[[np.ndarray, int, str, float], None]
    scale: float


def materialize(model: nn.Module, seed: int, on_drawn: Callable[[int, int], None] | None = None) -> None:
    """Allocate a model that was laid out on the meta device and give every parameter its initial value."""
    # A small network is to have no more than it needs.
    pieces = Pieces(min(_PIECE, sum(4 * parameter.numel() + ALIGNMENT for parameter in model.parameters())))
    for module in model.modules():
        _allocate(module, pieces)
        reset_constants(module)
    draw_weights(model, seed, on_drawn=on_drawn)


def _allocate(module: nn.Module, pieces: Pieces) -> None:
    # Not by to_empty: on the meta device it imports sympy, which takes as long as drawing 40 million numbers.
    for name, parameter in list(module.named_parameters(recurse=False)):
        memory = torch.from_numpy(pieces.array(tuple(parameter.shape), _FLOAT))
        setattr(module, name, nn.Parameter(memory, parameter.requires_grad))
    allocate_buffers(module)


def allocate_buffers(module: nn.Module) -> None:
    """Give the buffers of one module memory on the CPU, without values."""
    for name, buffer in list(module.named_buffers(recurse=False)):
        setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype, device="cpu"))


def reset_constants(module: nn.Module) -> None:
    """Set the values of one module that are not random: gains, biases, a normalizer's scale and running statistics."""
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()


def draw_weights(
    part: nn.Module, seed: int, *, prefix: str = "", on_drawn: Callable[[int, int], None] | None = None
) -> None:
    """Draw the random weights of a module and its children.

    Each is drawn once, from the stream of (seed, qualified name), spread over the cores: the numbers do not depend on
    how many cores there are, nor on what else is drawn.
    """

    def draw(item: _Draw) -> int:
        item.fill(item.out, seed, item.name, item.scale)
        return int(item.out.size)

    # Large ones first, so that the cores finish together.
    draws = sorted(_iter_draws(part, prefix), key=lambda item: -item.out.size)
    total = sum(item.out.size for item in draws)
    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        for drawn in accumulate(pool.map(draw, draws)):
            if on_drawn is not None:
                on_drawn(drawn, total)


def _iter_draws(part: nn.Module, prefix: str) -> Iterator[_Draw]:
    for path, module in part.named_modules(prefix=prefix):
        for attribute, fill in (("normal_std", fill_normal), ("uniform_bound", fill_uniform)):
            for name, scale in getattr(module, attribute, {}).items():
                weight = getattr(module, name).detach().numpy()
                yield _Draw(weight, f"{path}.{name}" if path else name, fill, scale)
