"""Corruptions of the style: contrast, and brightness and saturation in the space of hue, saturation and value.

Every function takes a picture x, (C, H, W) in float64 with values in [0, 1]; nothing in them is random. Letters: v the
value, the largest of the three colours of a pixel; s its saturation, (v - the smallest) / v.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator

    from sppkit.inputs.shifts.corruptions.arrays import Array


def contrast(x: Array, _generator: Generator, factor: float) -> Array:
    """Return ``(x - mean) factor + mean``, the mean of each channel."""
    mean: Array = x.mean((1, 2), keepdims=True)
    return (x - mean) * factor + mean


def brightness(x: Array, _generator: Generator, offset: float) -> Array:
    """Add to v, and leave hue and s: every colour is multiplied by the same."""
    v: Array = x.max(0, keepdims=True)
    brighter = np.clip(v + offset, 0, 1)
    return np.where(v == 0, brighter, x * brighter / np.where(v == 0, 1, v))


def saturate(x: Array, _generator: Generator, factor: float, offset: float) -> Array:
    """Replace s by ``factor s + offset``, and leave hue and v; a grey pixel has the hue of red."""
    v: Array = x.max(0, keepdims=True)
    depth = v - x  # what each colour lacks of the value
    s = depth.max(0, keepdims=True) / np.where(v == 0, 1, v)
    saturated = np.clip(s * factor + offset, 0, 1)
    red = np.array((0.0, 1.0, 1.0))[:, None, None] * v * saturated
    lacking: Array = np.where(s == 0, red, depth * saturated / np.where(s == 0, 1, s))
    return v - lacking
