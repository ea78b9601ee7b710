"""CrossNorm of the pictures themselves: each takes the style of another (Tang et al. 2021, arXiv:2102.02811).

Letters: x a picture, y its partner, mean and sd those of one channel over space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from sppkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

    from sppkit.inputs.shifts.shift import PairShift

    Box = tuple[slice, slice]

Crop = Literal["neither", "style", "content", "both"]
# Of the released code, whose pictures are normalized: in the variance, and the smallest share that a box may have.
_EPSILON = 1e-5
_SMALLEST_SHARE = 0.1
# A box reaches half of its side, rounded down, to both sides of its centre: in a smaller picture it would be empty.
_SMALLEST_SIDE = 3


def style_of_partner(crop: Crop = "neither", probability: float = 1.0) -> PairShift:
    """Return ``(x - mean(x)) sd(y) / sd(x) + mean(y)``, channel by channel.

    Args:
        crop: ``style`` takes the style from a random box of the partner, ``content`` gives it to a random box of the
            picture only, ``both`` does both, with two boxes. The released code draws its boxes once per batch.
        probability: That a picture is shifted at all; the released code draws once per batch, with 0.5.

    Returns:
        The shift. Its values are not clipped, and can leave [0, 1].
    """

    def shift(pictures: Tensor, generators: Sequence[np.random.Generator], /, partners: Tensor) -> Tensor:
        if crop != "neither" and min(pictures.shape[2:]) < _SMALLEST_SIDE:
            raise UsageError("--shift crossnorm with a crop is for pictures of at least 3x3.")
        shifted = pictures.clone()
        for x, y, generator in zip(shifted, partners, generators, strict=True):
            if generator.random() < probability:
                style = y[:, *_box(y, generator)] if crop in {"style", "both"} else y
                content = x[:, *_box(x, generator)] if crop in {"content", "both"} else x
                content.copy_(restyled(content, style))
        return shifted

    return shift


def restyled(x: Tensor, y: Tensor) -> Tensor:
    """Return x with the mean and deviation of y, channel by channel.

    Args:
        x: Shape (C, H, W).
        y: Shape (C, H', W').

    Returns:
        Shape (C, H, W).
    """
    own, other = (torch.var_mean(item, dim=(1, 2), keepdim=True) for item in (x, y))
    scale = torch.sqrt((other[0] + _EPSILON) / (own[0] + _EPSILON))
    return (x - own[1]) * scale + other[1]


def _box(x: Tensor, generator: np.random.Generator) -> Box:
    # The share of the picture is uniform in (0, 1), and so is the centre; what lies outside is cut off.
    height, width = x.shape[1:]
    while True:
        share, *centre = generator.random(3).tolist()
        rows, columns = (_side(size, share, at) for size, at in zip((height, width), centre, strict=True))
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        if area > max(1.0, _SMALLEST_SHARE * height * width):
            return rows, columns


def _side(size: int, share: float, at: float) -> slice:
    half, centre = int(size * share**0.5) // 2, int(size * at)
    return slice(max(centre - half, 0), min(centre + half, size))
