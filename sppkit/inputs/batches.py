"""What every kind of input has in common: batches that are made when they are asked for, and a description."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import torch

    # What a network is called with: one tensor, or tensors by the names of its arguments.
    Batch = torch.Tensor | Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Samples:
    """Single samples as they are before normalization: what a shift works on.

    Attributes:
        read: From the numbers of samples to a float32 CPU tensor of them that is the caller's own, (N, C, H, W).
        normalize: From such a tensor to what the network takes.
        are_pictures: Whether their values are known to lie in [0, 1].
        used: How many there are; None where there is no end.
    """

    read: Callable[[Sequence[int]], torch.Tensor]
    normalize: Callable[[torch.Tensor], torch.Tensor]
    are_pictures: bool
    used: int | None


@dataclass(frozen=True)
class Inputs:
    """The batches to push through a network, and what a record says about them.

    Attributes:
        description: JSON-ready: ``kind``, ``source``, ``batch_shape``, ``batches``, ``samples_used``,
            ``samples_available`` (None where there is no end), ``normalized``, and what only one kind has.
        batches: Call it for a new pass over the batches, one at a time: float32 (or, for tokens, int64) CPU tensors, or
            mappings from a keyword to such a tensor, each of them the caller's own (a network that writes into its
            input spoils no later pass).
        shape: (N, C, H, W), or whatever the network takes, of the first batch; only the last batch can be smaller.
        draw: Makes the batch of any index; None where the samples come to an end.
        samples: What a shift works on; None where there is no such thing, as of tokens.
        keyword: The argument that a batch is handed to by name, if it is one tensor; None for the first argument.
    """

    description: dict[str, object]
    batches: Callable[[], Iterator[Batch]]
    shape: tuple[int, ...]
    draw: Callable[[int], Batch] | None = None
    samples: Samples | None = None
    keyword: str | None = None

    def warmup(self, count: int) -> Iterator[Batch]:
        """Return batches to run before the measured ones."""
        if self.draw is None:
            return islice(cycle(self.batches()), count)
        first = cast("int", self.description["batches"])
        return map(self.draw, range(first, first + count))


def describe(
    kind: str, source: str, *, shape: tuple[int, ...], batch_size: int, used: int, available: int | None
) -> dict[str, object]:
    """Return the part of the description that every kind of input has."""
    return {
        "kind": kind,
        "source": source,
        "batch_shape": [min(batch_size, used), *shape],
        "batches": -(-used // batch_size),  # rounded up: the last batch can be smaller
        "samples_used": used,
        "samples_available": available,
    }


def split(used: int, batch_size: int) -> Iterator[slice]:
    """Cut ``used`` samples into batches, the last of which can be smaller.

    >>> list(split(5, batch_size=2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, used, batch_size):
        yield slice(start, min(start + batch_size, used))
