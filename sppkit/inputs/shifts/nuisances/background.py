"""Another brightness of what is behind the object."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

    from sppkit.inputs.shifts.shift import Shift

# Of 8 bits per channel.
_WHITE = 255
# K49-BG-LT replaces 0 by one of 0, ..., 99.
DARKEST, BRIGHTEST = 0, 99


def background(*, value: int = 0, darkest: int = DARKEST, brightest: int = BRIGHTEST) -> Shift:
    """Make the change of every pixel of one grey level ``value`` to v ~ U{darkest, ..., brightest}, in 8-bit levels."""
    darkest, brightest = sorted((darkest, brightest))
    return partial(_background, value=value, darkest=darkest, brightest=brightest)


def _background(
    pictures: Tensor, generators: Sequence[np.random.Generator], *, value: int, darkest: int, brightest: int
) -> Tensor:
    """Exchange the background of each picture for one level in all its channels; the other pixels stay.

    A pixel is background where each channel, rounded to 8 bits, is ``value``.
    """
    levels = [int(generator.integers(darkest, brightest, endpoint=True)) for generator in generators]
    is_background = ((pictures * _WHITE).round() == value).all(dim=1, keepdim=True)
    chosen = torch.tensor(levels, dtype=pictures.dtype).reshape(-1, 1, 1, 1) / _WHITE
    return torch.where(is_background, chosen, pictures)
