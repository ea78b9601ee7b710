"""A nuisance: a shift as a distribution over transformations T that leave the label, drawn as often as wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sppkit.config.shifts import parse_nuisance
from sppkit.errors import UsageError
from sppkit.inputs.shifts.shift import apply, load_shift
from sppkit.streams import keyed_generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FORM = "a name of sppkit list nuisances, or a function of pictures and their generators"


@dataclass(frozen=True)
class Nuisance:
    """A distribution over transformations of pictures.

    Attributes:
        text: As a record has it.
        name: In the streams of its draws: all settings of one nuisance draw the same numbers.
        shift: Transforms pictures by their generators.
        pairs: Whether a picture is transformed by means of another one.
        registered: Whether it is one of sppkit's.
        any_values: Whether it takes numbers beyond [0, 1], too.
    """

    text: str
    name: str
    shift: Any
    pairs: bool = False
    registered: bool = False
    any_values: bool = True

    def draw(self, pictures: Tensor, seed: int, streams: Iterable[str], partners: Tensor | None = None) -> Tensor:
        """Return T x of each picture, T drawn from the picture's own stream."""
        generators = [keyed_generator(seed, stream) for stream in streams]
        moved: object = apply(self.shift, pictures.clone(), generators, partners)
        if not isinstance(moved, Tensor) or moved.shape != pictures.shape or not moved.is_floating_point():
            found = (
                f"{moved.dtype} of shape {tuple(moved.shape)}" if isinstance(moved, Tensor) else type(moved).__name__
            )
            raise UsageError(
                f"the nuisance {self.text} returned {found}; it must return floating-point pictures of the shape that "
                f"it gets, {tuple(pictures.shape)}."
            )
        if not bool(torch.isfinite(moved).all()):
            raise UsageError(f"the nuisance {self.text} returned values that are not finite.")
        return moved.to(pictures)


def choose_nuisance(given: object) -> Nuisance:
    """Return the nuisance of a name with its settings, as ``rotate:degrees=30``, or of a function."""
    if isinstance(given, str):
        chosen = parse_nuisance(given)
        entry, registered = chosen.entry, chosen.file is None
        takes_any = entry.any_values or not registered
        return Nuisance(chosen.text, chosen.name, load_shift(chosen), entry.pairs, registered, takes_any)
    if not callable(given):
        raise UsageError(f"nuisance must be {_FORM}, not {given!r:.60}.")
    name = getattr(given, "__name__", type(given).__name__)
    return Nuisance(name, name, given)


def partner_positions(nuisance: Nuisance, seed: int, draw: int, count: int) -> Sequence[int]:
    """Return the partner of each of ``count`` pictures in one draw: a permutation of them."""
    stream = f"nuisance/{nuisance.name}/{draw}/partners"
    return [int(position) for position in keyed_generator(seed, stream).permutation(count)]
