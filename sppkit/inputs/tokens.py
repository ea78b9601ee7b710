"""Tokens, which language models take: drawn at random, or from a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sppkit.errors import UsageError
from sppkit.inputs.batches import Inputs, describe, split
from sppkit.streams import STREAM_NAME, keyed_generator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sppkit.inputs.stored import Stored


def load_tokens(*, shape: tuple[int, ...], vocab: int, batch_size: int, batches: int, seed: int) -> Inputs:
    """Describe batches of tokens, independent and uniform over the vocabulary.

    Batch i has the stream ``input/<i>`` to itself, as Gaussian batches have.
    """

    def draw(batch: int) -> torch.Tensor:
        return draw_tokens((batch_size, *shape), vocab, seed, f"input/{batch}")

    def draw_all() -> Iterator[torch.Tensor]:
        return map(draw, range(batches))

    used = batch_size * batches
    description = describe("tokens", "tokens", shape=shape, batch_size=batch_size, used=used, available=None)
    description |= {"normalized": f"uniform over {vocab} tokens", "vocab": vocab, "stream": STREAM_NAME, "seed": seed}
    return Inputs(description, draw_all, (batch_size, *shape), draw)


def draw_tokens(shape: tuple[int, ...], vocab: int, seed: int, name: str) -> torch.Tensor:
    """Draw one batch of tokens from a stream."""
    return torch.from_numpy(keyed_generator(seed, name).integers(0, vocab, shape, dtype=np.int64))


def read_tokens(path: Path, stored: Stored, *, vocab: int, batch_size: int, batches: int) -> Inputs:
    """Describe batches of the tokens in a file."""
    size = "x".join(map(str, stored.shape)) or "a single number"
    if len(stored.shape) != len(("samples", "tokens")) or 0 in stored.shape:
        raise UsageError(f"{path} holds {size}; 2 axes are needed: samples x tokens, at least one of each.")
    used = min(stored.shape[0], batch_size * batches)

    def read_all() -> Iterator[torch.Tensor]:
        # Read as float32, which holds every whole number up to 2^24 exactly; no vocabulary is as large.
        return (stored.read(part).long() for part in split(used, batch_size))

    for batch in read_all():
        lowest, highest = int(batch.min()), int(batch.max())
        if lowest < 0 or highest >= vocab:
            raise UsageError(
                f"{path} holds numbers from {lowest} to {highest}, and tokens are 0 to {vocab - 1}.\n"
                "Was it tokenized for another network? --vocab N says how many tokens there are."
            )
    sample = stored.shape[1:]
    sizes = {"batch_size": batch_size, "used": used, "available": stored.shape[0]}
    description = describe("array", str(path), shape=sample, **sizes)
    description |= {"normalized": "as they are", "dtype": stored.dtype, "vocab": vocab}
    return Inputs(description, read_all, (min(used, batch_size), *sample))
