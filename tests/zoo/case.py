"""What a model of the zoo states about itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

# One row by hand: its name, the branch before its scale (or None), the output, and the axis of the channels.
Row = tuple[str, Tensor | None, Tensor, int]


class Zoo(nn.Module):
    """A model of the zoo: ``forward`` is written as its author would, ``rows`` states what is to be found."""

    example: Callable[[], object] = staticmethod(lambda: image())
    kind = "addition"
    rejected: tuple[str, ...] = ()
    mode = "train"

    def rows(self, x: Tensor) -> list[Row]:
        raise NotImplementedError


ZOO: dict[str, Callable[[], Zoo]] = {}


def zoo(cls: type[Zoo]) -> type[Zoo]:
    ZOO[cls.__name__] = cls
    return cls


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def image() -> Tensor:
    return noise(4, 3, 8, 8)


def tokens() -> Tensor:
    return noise(3, 5, 8)


def features() -> Tensor:
    return noise(16, 6)


def words() -> Tensor:
    return torch.randint(0, 11, (3, 5), generator=torch.Generator().manual_seed(1))
