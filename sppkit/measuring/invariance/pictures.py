"""Labelled pictures on their way into a network: in batches, transformed in [0, 1], and only then normalized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn

    from sppkit.inputs.labelled import Labelled


@dataclass(frozen=True)
class Normalization:
    """(x - mean) / deviation, a number per channel or one for all of them; what the network was trained with."""

    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)

    def apply(self, pictures: Tensor) -> Tensor:
        """Return pictures as the network takes them."""
        mean, deviation = (
            torch.tensor(values, dtype=pictures.dtype).reshape(-1, 1, 1) for values in (self.mean, self.deviation)
        )
        return (pictures - mean) / deviation


def computed_in(model: nn.Module) -> torch.dtype | None:
    """Return the type that a model computes in, that of its first weight; None where it has none."""
    return next((parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()), None)


def read_normalization(given: object, channels: int) -> Normalization:
    """Read (mean, standard deviation), each a number or one per channel; None for none."""
    if given is None:
        return Normalization()
    if not isinstance(given, (tuple, list)) or len(given) != len(("mean", "standard deviation")):
        raise UsageError(
            f"normalize must be (mean, standard deviation), each a number or one per channel, not {given!r:.60}."
        )
    mean, deviation = (tuple(float(number) for number in np.ravel(np.asarray(part, dtype=float))) for part in given)
    for what, values in (("mean", mean), ("standard deviation", deviation)):
        if len(values) not in {1, channels} or not np.isfinite(values).all():
            raise UsageError(
                f"normalize needs one {what}, or one for each of {channels} channel{'s' * (channels != 1)}, not "
                f"{', '.join(map(str, values))}."
            )
    if min(deviation) <= 0:
        raise UsageError(f"normalize needs a standard deviation above 0, not {min(deviation):g}.")
    return Normalization(mean, deviation)


@dataclass(frozen=True)
class Pictures:
    """What a network is shown.

    Attributes:
        labelled: The pictures, in [0, 1].
        normalization: What happens to them last.
        batch_size: So many at a time.
        dtype: What pictures are cast to last; their own type if None.
    """

    labelled: Labelled
    normalization: Normalization = Normalization()
    batch_size: int = 64
    dtype: torch.dtype | None = None

    @property
    def batches(self) -> int:
        """Number of batches."""
        return -(-len(self.labelled) // self.batch_size)

    def iter_batches(self) -> Iterator[tuple[range, Tensor]]:
        """Yield positions and pictures."""
        for first in range(0, len(self.labelled), self.batch_size):
            positions = range(first, min(first + self.batch_size, len(self.labelled)))
            yield positions, self.labelled.read(positions)

    def read(self, positions: Sequence[int]) -> Tensor:
        """Return some pictures."""
        return self.labelled.read(positions)

    def two(self) -> Tensor:
        """Return two pictures of different classes."""
        labels = self.labelled.labels
        return self.labelled.read([0, int(np.flatnonzero(labels != labels[0])[0])])

    def normalized(self, pictures: Tensor) -> Tensor:
        """Return pictures as the network takes them."""
        return self.normalization.apply(pictures).to(self.dtype or pictures.dtype)
