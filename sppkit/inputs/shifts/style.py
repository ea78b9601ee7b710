"""Changes of style and nothing else: contrast and brightness as affine functions of every channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

    from sppkit.inputs.shifts.shift import Shift


def contrast(factor: float = 0.5) -> Shift:
    """Return ``(x - mean) factor + mean``, with the mean of each channel over space, clipped to [0, 1].

    Args:
        factor: Below 1 nothing is ever clipped: the deviation of every channel is multiplied by it, exactly.

    Returns:
        The shift.
    """

    def shift(pictures: Tensor, _generators: Sequence[np.random.Generator], /) -> Tensor:
        mean = pictures.mean((2, 3), keepdim=True)
        return ((pictures - mean) * factor + mean).clamp(0, 1)

    return shift


def brightness(offset: float = 0.2) -> Shift:
    """Return ``x + offset``, clipped to [0, 1].

    Args:
        offset: Added to every value.

    Returns:
        The shift.
    """

    def shift(pictures: Tensor, _generators: Sequence[np.random.Generator], /) -> Tensor:
        return (pictures + offset).clamp(0, 1)

    return shift
