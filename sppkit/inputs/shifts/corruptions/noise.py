"""Noise: x + N(0, sd²), Poisson counts, salt and pepper, and noise in proportion to the value.

Every function takes a picture x, (C, H, W) in float64 with values in [0, 1], and the picture's random numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator

    from sppkit.inputs.shifts.corruptions.arrays import Array


def gaussian_noise(x: Array, generator: Generator, deviation: float) -> Array:
    """Return ``x + N(0, deviation²)``."""
    return x + generator.normal(0, deviation, x.shape)


def shot_noise(x: Array, generator: Generator, photons: float) -> Array:
    """Return ``Poisson(photons x) / photons``."""
    return generator.poisson(np.clip(x, 0, 1) * photons) / photons


def impulse_noise(x: Array, generator: Generator, share: float) -> Array:
    """Make a share of all values 0 or 1, by a fair coin."""
    hit, salted = generator.random(x.shape) <= share, generator.random(x.shape) <= 0.5
    return np.where(hit, salted.astype(x.dtype), x)


def speckle_noise(x: Array, generator: Generator, deviation: float) -> Array:
    """Return ``x + x N(0, deviation²)``."""
    return x + x * generator.normal(0, deviation, x.shape)
