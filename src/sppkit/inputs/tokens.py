"""Tokens drawn at random: what a language model takes, and for which nothing has to be known of any language."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sppkit.inputs.batches import Inputs, describe
from sppkit.streams import STREAM_NAME, keyed_generator

if TYPE_CHECKING:
    from collections.abc import Iterator


def load_tokens(*, shape: tuple[int, ...], vocab: int, batch_size: int, batches: int, seed: int) -> Inputs:
    """Describe batches of tokens, independent and uniform over the vocabulary.

    Batch i has the stream ``input/<i>`` to itself, as Gaussian batches have.

    Args:
        shape: (T,), the tokens of one sequence.
        vocab: Number of different tokens.
        batch_size: Sequences in a batch.
        batches: Number of batches.
        seed: The run's seed.

    Returns:
        The inputs, of kind ``"tokens"``; batches are int64.
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
    """Draw one batch of tokens from a stream.

    Args:
        shape: (N, T).
        vocab: Number of different tokens; they are 0 to ``vocab - 1``.
        seed: The run's seed.
        name: The stream's name.

    Returns:
        An int64 tensor of that shape.
    """
    return torch.from_numpy(keyed_generator(seed, name).integers(0, vocab, shape, dtype=np.int64))
