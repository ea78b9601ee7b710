"""Batches that a network takes by name, with whatever else it needs beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from sppkit.inputs.gaussian import draw_numbers
from sppkit.inputs.tokens import draw_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from sppkit.inputs.batches import Inputs


class Beside(NamedTuple):
    """A further argument: drawn from the stream ``input/<batch>/<keyword>``.

    Attributes:
        keyword: The argument's name.
        shape: Of one sample.
        vocab: Number of different tokens, or None for N(0, 1) numbers.
    """

    keyword: str
    shape: tuple[int, ...]
    vocab: int | None

    def draw(self, samples: int, seed: int, batch: int) -> torch.Tensor:
        """Draw one batch, shape (samples, *shape)."""
        shape, name = (samples, *self.shape), f"input/{batch}/{self.keyword}"
        return draw_numbers(shape, seed, name) if self.vocab is None else draw_tokens(shape, self.vocab, seed, name)


def by_keyword(inputs: Inputs, keyword: str, beside: Sequence[Beside], seed: int) -> Inputs:
    """Make mappings of batches: from the names of arguments to tensors."""

    def name(batch: int, main: Any) -> dict[str, torch.Tensor]:
        return {keyword: main} | {item.keyword: item.draw(len(main), seed, batch) for item in beside}

    def batches() -> Iterator[dict[str, torch.Tensor]]:
        return (name(batch, main) for batch, main in enumerate(inputs.batches()))

    draw = inputs.draw
    description = inputs.description | {"keywords": [keyword, *(item.keyword for item in beside)]}
    return replace(
        inputs,
        description=description,
        batches=batches,
        draw=None if draw is None else lambda batch: name(batch, draw(batch)),
        keyword=keyword,
        # What stands beside it is drawn by batch, so that a sample is not all of what goes in.
        samples=None if beside else inputs.samples,
    )
