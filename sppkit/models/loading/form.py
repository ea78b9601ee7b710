"""What goes into a network: the shape of one sample, whether it is numbers or tokens, and by what name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class InputForm:
    """One argument of a network's forward pass.

    Attributes:
        shape: Of one sample, without the axis of the samples; None where it is not known.
        origin: Where the shape comes from, in words.
        vocab: Number of different tokens; None where the input is real numbers.
        keyword: The argument's name; None for the first argument, which has none.
        others: Further arguments that the forward pass needs, each with a keyword.
    """

    shape: tuple[int, ...] | None
    origin: str
    vocab: int | None = None
    keyword: str | None = None
    others: tuple[InputForm, ...] = ()
