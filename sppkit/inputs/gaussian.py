"""Gaussian noise: the input for which theory predicts the curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sppkit.inputs.batches import Inputs, Samples, describe
from sppkit.streams import STREAM_NAME, fill_normal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def load_gaussian(*, shape: tuple[int, ...], batch_size: int, batches: int, seed: int) -> Inputs:
    """Describe batches of independent N(0, 1) numbers.

    Batch i has the stream ``input/<i>`` to itself, so that it is the same whatever the number of batches, and its first
    samples are the same whatever the batch size.
    """

    def draw(batch: int) -> torch.Tensor:
        return draw_batch((batch_size, *shape), seed, batch)

    def draw_all() -> Iterator[torch.Tensor]:
        return map(draw, range(batches))

    def read(numbers: Sequence[int]) -> torch.Tensor:
        drawn = {batch: draw(batch) for batch in {number // batch_size for number in numbers}}
        return torch.stack([drawn[number // batch_size][number % batch_size] for number in numbers])

    used = batch_size * batches
    description = describe("gaussian", "gaussian", shape=shape, batch_size=batch_size, used=used, available=None)
    description |= {"normalized": "drawn from N(0, 1)", "stream": STREAM_NAME, "seed": seed}
    samples = Samples(read, lambda drawn: drawn, are_pictures=False, used=None)
    return Inputs(description, draw_all, (batch_size, *shape), draw, samples)


def draw_batch(shape: tuple[int, ...], seed: int, batch: int) -> torch.Tensor:
    """Draw one batch of N(0, 1) numbers from the stream ``input/<batch>``."""
    return draw_numbers(shape, seed, f"input/{batch}")


def draw_numbers(shape: tuple[int, ...], seed: int, name: str) -> torch.Tensor:
    """Draw N(0, 1) numbers from a stream."""
    numbers = np.empty(shape, np.float32)
    fill_normal(numbers, seed=seed, name=name)
    return torch.from_numpy(numbers)
