"""The one face of every shift, and the random numbers that a picture has to itself.

A shift gets pictures as a float tensor (N, C, H, W) with values in [0, 1], before any normalization, and one generator
per picture. It returns pictures of the same shape. What becomes of a picture depends on the picture, its generator and,
where the shift pairs pictures, its partner; never on the batch that it stands in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from sppkit import registry
from sppkit.inputs.shifts.own import load_own
from sppkit.streams import keyed_generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from torch import Tensor

    from sppkit.config.shifts import ChosenShift


class Shift(Protocol):
    """A shift of pictures one by one."""

    def __call__(self, pictures: Tensor, generators: Sequence[np.random.Generator], /) -> Tensor:
        """Shift pictures.

        Args:
            pictures: Shape (N, C, H, W), values in [0, 1].
            generators: One per picture; whatever is random comes from the picture's own.

        Returns:
            The same shape and type, with values in [0, 1] unless the shift says otherwise; never the same memory as
            ``pictures``, which stay what they are.
        """
        ...


class PairShift(Protocol):
    """A shift of each picture by means of another one."""

    def __call__(self, pictures: Tensor, generators: Sequence[np.random.Generator], /, partners: Tensor) -> Tensor:
        """Shift pictures.

        Args:
            pictures: As for ``Shift``.
            generators: As for ``Shift``.
            partners: The other picture of each, the same shape.

        Returns:
            As for ``Shift``.
        """
        ...


def load_shift(chosen: ChosenShift) -> Shift | PairShift:
    """Make the shift that was chosen."""
    if chosen.file is not None:
        return load_own(chosen.file, chosen.name)
    make = registry.load(chosen.entry.target)
    return cast("Shift | PairShift", make(**chosen.values))


def generators_of(chosen: ChosenShift, seed: int, samples: Iterable[int]) -> list[np.random.Generator]:
    """Return the generator of each sample: the stream ``shift/<name>/<sample>``.

    All settings of one shift draw the same numbers: two severities of a noise differ in nothing else.
    """
    return [keyed_generator(seed, f"shift/{chosen.name}/{sample}") for sample in samples]


def partners_of(chosen: ChosenShift, seed: int, count: int) -> list[int]:
    """Return the partner of each of ``count`` samples: a permutation of them, which may leave some where they are."""
    return cast("list[int]", keyed_generator(seed, f"shift/{chosen.name}/partners").permutation(count).tolist())


def apply(
    shift: Shift | PairShift, pictures: Tensor, generators: Sequence[np.random.Generator], partners: Tensor | None
) -> Tensor:
    """Shift pictures, with their partners where there are any."""
    if partners is None:
        return cast("Shift", shift)(pictures, generators)
    return cast("PairShift", shift)(pictures, generators, partners=partners)
