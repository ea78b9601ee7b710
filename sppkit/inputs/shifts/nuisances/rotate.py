"""Rotation by a random angle."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from sppkit.inputs.shifts.shift import Shift

# K49-ROT-LT takes every angle.
ALL_ANGLES = 180.0


def rotate(*, degrees: float = ALL_ANGLES) -> Shift:
    """Make the rotation by θ ~ U(-degrees, degrees) about the picture's centre."""
    return partial(_rotate, degrees=degrees)


def _rotate(pictures: Tensor, generators: Sequence[np.random.Generator], *, degrees: float) -> Tensor:
    """Turn each picture: bicubic, what was outside is 0, no expansion; what bicubic overshoots is cut to [0, 1]."""
    turned = torch.empty_like(pictures)
    for picture, generator, out in zip(pictures, generators, turned, strict=True):
        angle = generator.uniform(-degrees, degrees)
        for channel, target in zip(picture.float().numpy(), out, strict=True):
            image = Image.fromarray(channel).rotate(angle, Image.Resampling.BICUBIC, fillcolor=0)
            target.copy_(torch.from_numpy(np.array(image)).clamp(0, 1))
    return turned
