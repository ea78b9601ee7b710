"""Thicker or thinner strokes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

    from sppkit.inputs.shifts.shift import Shift

# K49-DIL-LT dilates with probability 0.6 by a box of 2, 3 or 4 pixels, and else erodes by one of 1 or 2: by 1, one
# picture in five is left as it is.
PROBABILITY = 0.6
SMALLEST_DILATION, DILATION, EROSION = 2, 4, 2


def dilate(*, probability: float = PROBABILITY, dilation: int = DILATION, erosion: int = EROSION) -> Shift:
    """Make the dilation by a box of k × k, k ~ U{2, ..., dilation}, or else erosion, k ~ U{1, ..., erosion}."""
    return partial(_dilate, probability=probability, dilation=dilation, erosion=erosion)


def _dilate(
    pictures: Tensor, generators: Sequence[np.random.Generator], *, probability: float, dilation: int, erosion: int
) -> Tensor:
    """Dilate or erode each picture; strokes are what is bright."""
    changed = torch.empty_like(pictures)
    for picture, generator, out in zip(pictures, generators, changed, strict=True):
        if generator.random() < probability:
            out.copy_(_largest(picture, int(generator.integers(SMALLEST_DILATION, dilation, endpoint=True))))
        else:
            out.copy_(-_largest(-picture, int(generator.integers(1, erosion, endpoint=True))))
    return changed


def _largest(picture: Tensor, side: int) -> Tensor:
    """Return the largest value in the box around each pixel, from -⌊k/2⌋ to k - 1 - ⌊k/2⌋ along each axis.

    What is outside of the picture counts for nothing.
    """
    before = side // 2
    after = side - 1 - before
    padded = functional.pad(picture, (before, after, before, after), value=-torch.inf)
    return functional.max_pool2d(padded[None], side, stride=1)[0]
