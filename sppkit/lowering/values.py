"""What a tensor of an observed forward pass is to theory: a random signal, numbers made of one, or neither.

Of which position and channel of theory's signal an element of a tensor is, two tensors of whole numbers say, which take
every reshaping, slicing and padding that the tensor itself takes. A tensor without such an entry is known: its values
are those that it has.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from sppkit.theory.arrays import Floats


@dataclass(frozen=True, eq=False)
class Source:
    """Random weights, or known numbers, whose channels a signal consists of.

    Attributes:
        aligned: Whether channel c of the signal is still their channel c.
        values: The numbers, of known ones.
        channels: Where it is not, all of their channels that the signal has; None for any.
    """

    aligned: bool = True
    values: Tensor | None = None
    channels: Tensor | None = None

    def moved(self, labels: Tensor) -> Source:
        """Return the source of a signal whose channels have other names now.

        Args:
            labels: The names that they had.
        """
        return replace(self, aligned=False, channels=torch.unique(labels)) if self.aligned else self


@dataclass(frozen=True, eq=False)
class Part:
    """Some of the channels of a signal, which have statistics of their own.

    Attributes:
        step: The step that makes them.
        channels: How many.
    """

    step: int
    channels: int


@dataclass(frozen=True, eq=False)
class Signal:
    """Random values: a Gaussian process of each channel, and a function of it.

    Attributes:
        step: The step that makes their covariance.
        count: Positions that it has.
        places: Which position each element is, of the tensor's shape; -1 for a 0.
        labels: Which channel each element is, of the tensor's shape.
        sources: What its channels are made of, by the identity of the weights.
        weights: All weights on the way to it.
        fan_in: Channels that the last weights read.
        function: Applied to each element; None for nothing.
        parts: Where channels of different statistics lie beside each other, these.
        mixed: Where they were taken together since, the steps that made them: functions of them are those of one signal
            only if they are alike.
        bent: The step that makes the share of E x² that is no Gaussian process but a function of one; None for none.
    """

    step: int
    count: int
    places: Tensor
    labels: Tensor
    sources: Mapping[object, Source]
    weights: frozenset[object]
    fan_in: int
    function: Callable[[Floats], Floats] | None = None
    parts: tuple[Part, ...] = ()
    mixed: tuple[int, ...] = ()
    bent: int | None = None

    def whole(self, step: int) -> Signal:
        """Return the signal after a step that takes all of its channels together."""
        return replace(self, step=step, parts=(), mixed=(*self.mixed, *(part.step for part in self.parts)))


@dataclass(frozen=True, eq=False)
class Numbers:
    """A number of each position, such as a norm over the channels.

    Attributes:
        step: The step that makes them.
        count: Positions that the signal has which they were made of.
        places: Which position each element is.
    """

    step: int
    count: int
    places: Tensor


@dataclass(frozen=True, eq=False)
class Scores:
    """What queries and keys give, before the softmax or, with ``softmax``, behind it.

    Attributes:
        query: Shape (batch and heads, queries, channels).
        key: Shape (batch and heads, keys, channels).
        cells: Which element of (batch and heads, queries, keys) each element of the tensor is.
        scale: Factor of the products.
        logits: What is added and known, of the shape of ``cells``; None for nothing.
        softmax: Whether the softmax was taken.
        keep: Share of the weights that dropout keeps.
    """

    query: Signal
    key: Signal
    cells: Tensor
    scale: float = 1.0
    logits: Tensor | None = None
    softmax: bool = False
    keep: float = 1.0


@dataclass(frozen=True, eq=False)
class Given:
    """Numbers that were computed from the input alone: the values are those that the tensor has.

    Attributes:
        samples: Which sample each element is of, of the tensor's shape; None where that was lost.
    """

    samples: Tensor | None


@dataclass(frozen=True)
class Mask:
    """Random zeros and ones of a dropout.

    Attributes:
        keep: Probability of a one.
        factor: What the ones were multiplied by.
    """

    keep: float
    factor: float = 1.0


@dataclass(frozen=True)
class Unknown:
    """What theory does not know.

    Attributes:
        where: The module that it was made in.
        why: The operation and what is the matter with it.
    """

    where: str
    why: str


Value = Signal | Given | Numbers | Scores | Mask | Unknown


class NotKnownError(Exception):
    """An operation that theory does not know; the text says why, in a few words."""


class TooManyPositionsError(Exception):
    """The samples have more positions than fit.

    Attributes:
        positions: How many there are.
    """

    def __init__(self, positions: int) -> None:
        super().__init__(f"{positions:,} positions")
        self.positions = positions


@dataclass
class Batch:
    """What is known of the samples.

    Attributes:
        held: Samples that the observed pass has.
        samples: In the whole batch.
        largest: Positions that fit.
        module: The module that is called.
    """

    held: int
    samples: int
    largest: int
    module: Callable[[], str] = field(default=lambda: "")
