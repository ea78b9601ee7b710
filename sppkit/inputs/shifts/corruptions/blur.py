"""Blurs: the high frequencies are gone.

Every function takes a picture x, (C, H, W) in float64 with values in [0, 1], and the picture's random numbers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sppkit.inputs.shifts.corruptions.filters import correlate, displaced, gaussian_filter, gaussian_weights, sample
from sppkit.inputs.shifts.eight_bits import FULL

if TYPE_CHECKING:
    from numpy.random import Generator

    from sppkit.inputs.shifts.corruptions.arrays import Array

# The grid that a disk of up to this radius is drawn on, and the radius of the filter that smooths its rim: 1, or 2.
_DISK_GRID = 8


def gaussian_blur(x: Array, _generator: Generator, deviation: float) -> Array:
    """Blur by a Gaussian."""
    return gaussian_filter(x, deviation)


def defocus_blur(x: Array, _generator: Generator, radius: float, rim: float) -> Array:
    """Blur by a disk whose rim is smoothed by a Gaussian of deviation ``rim``."""
    reach = max(_DISK_GRID, int(radius))
    line = np.arange(-reach, reach + 1)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).astype(x.dtype)
    weights = gaussian_weights(rim, 1 if radius <= _DISK_GRID else 2)
    return correlate(x, correlate(disk[None] / disk.sum(), np.outer(weights, weights), "reflect")[0], "reflect")


def motion_blur(x: Array, generator: Generator, radius: float, deviation: float) -> Array:
    """Blur along a line at an angle of up to 45 degrees to the horizontal."""
    return motion_filter(x, radius, deviation, angle=float(generator.uniform(-45, 45)))


def motion_filter(x: Array, radius: float, deviation: float, angle: float) -> Array:
    """Return a one-sided Gaussian mean of x displaced along a line, in degrees, pixel by pixel.

    As ImageMagick's motion blur: 2 radius + 1 steps, displacements rounded.
    """
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-0.5 * (steps / deviation) ** 2)
    direction = math.radians(angle)
    total = np.zeros_like(x)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        down, right = (math.ceil(step * part - 0.5) for part in (math.sin(direction), math.cos(direction)))
        total += weight * displaced(x, down, right)
    return total


def zoom_blur(x: Array, _generator: Generator, end: float, step: float) -> Array:
    """Return the mean of x and of its enlargements by 1, 1 + step, ... below ``end``."""
    factors = np.arange(1, end, step)
    return (x + sum(enlarged(x, float(factor)) for factor in factors)) / (len(factors) + 1)


def enlarged(x: Array, factor: float) -> Array:
    """Enlarge the middle of x, bilinear, and cut it to the size that x has."""
    places = []
    for size in x.shape[1:]:
        kept = math.ceil(size / factor)
        made = max(size, round(kept * factor))
        scale = (kept - 1) / (made - 1) if made > 1 else 0.0  # the first pixels and the last ones stay what they are
        places.append((size - kept) // 2 + ((made - size) // 2 + np.arange(size)) * scale)
    rows, columns = np.meshgrid(*places, indexing="ij")
    return sample(x, rows, columns, "edge")


def glass_blur(x: Array, generator: Generator, deviation: float, reach: int, rounds: int) -> Array:
    """Blur, let pixels take the value of a near one, one after the other from the last on, and blur again.

    The released code means to exchange pixels, and copies one to the other, which is done here as well.
    """
    moved = np.floor(gaussian_filter(x, deviation) * FULL) / FULL
    height, width = x.shape[1:]
    rows, columns = (range(size - reach, reach, -1) for size in (height, width))
    for _ in range(rounds):
        steps = generator.integers(-reach, reach, (len(rows), len(columns), 2)).tolist()
        for row, along in zip(rows, steps, strict=True):
            for column, (right, down) in zip(columns, along, strict=True):
                moved[:, row, column] = moved[:, row + down, column + right]
    return gaussian_filter(moved, deviation)
