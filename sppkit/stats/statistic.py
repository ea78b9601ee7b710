"""What a statistic is made of: a reduction of signals that merges exactly, and a number computed from what it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

A = TypeVar("A")


@dataclass(frozen=True, eq=False)
class Reduction(Generic[A]):
    """A way to keep of a signal what statistics need; several of them may share one.

    Attributes:
        reduce: From a signal of shape (N, C, *space), of any floating type, to what is kept of it, in float64 or whole
            numbers, without waiting for the device; or from several signals that belong together.
        merge: What would have been kept of both signals together.
    """

    reduce: Callable[[Any], A]
    merge: Callable[[A, A], A]


@dataclass(frozen=True)
class Statistic(Generic[A]):
    """A number, of shape (), from what is kept of a signal.

    Attributes:
        reduction: What it needs.
        value: The number.
        over_layers: What a block shows whose layers have a number each: their mean, or the smallest or largest of them.
    """

    reduction: Reduction[A]
    value: Callable[[A], Tensor | float]
    over_layers: Literal["mean", "smallest", "largest"] = "mean"

    def combine(self, values: Sequence[Any]) -> Tensor:
        """Return the number of a block from those of its layers.

        Args:
            values: Of shape (), at least one.

        Returns:
            Shape (); nan if one of them is.
        """
        stacked = torch.stack(list(values))
        if self.over_layers == "mean":
            return stacked.mean()
        return stacked.amin() if self.over_layers == "smallest" else stacked.amax()
