"""Fog and snow.

Every function takes a picture x, (C, H, W) in float64 with values in [0, 1], and the picture's random numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.inputs.shifts.corruptions.blur import enlarged, motion_filter
from sppkit.inputs.shifts.eight_bits import FULL

if TYPE_CHECKING:
    from numpy.random import Generator

    from sppkit.inputs.shifts.corruptions.arrays import Array

# Displacement of the first step of the plasma; only its ratio to that of the further ones matters.
_FIRST = 100.0
# Red, green and blue in what is grey (ITU-R BT.601).
_LUMA = np.array((0.299, 0.587, 0.114))


def fog(x: Array, generator: Generator, strength: float, decay: float) -> Array:
    """Return ``(x + strength plasma) max / (max + strength)``, max the largest value of x."""
    height, width = x.shape[1:]
    largest = float(x.max())
    clouds = plasma(max(height, width), generator, decay)[:height, :width]
    return (x + strength * clouds) * largest / (largest + strength)


def plasma(side: int, generator: Generator, decay: float) -> Array:
    """Return a plasma fractal from 0 to 1 by diamond and square steps, on a torus of the next power of two.

    In each step the middles between known points get the mean of their four neighbours and a uniform displacement
    whose size is the square of a number that is divided by ``decay`` from one step to the next.
    """
    size = 1 << max(1, (side - 1).bit_length())
    heights = np.zeros((size, size))
    step, amplitude = size, _FIRST
    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        heights[half::step, half::step] = _displaced(_four(corners, corners), amplitude, generator)
        middles = heights[half::step, half::step]
        above, beside = np.roll(middles, 1, 0), np.roll(middles, 1, 1)
        heights[::step, half::step] = _displaced(
            middles + above + corners + np.roll(corners, -1, 1), amplitude, generator
        )
        heights[half::step, ::step] = _displaced(
            middles + beside + corners + np.roll(corners, -1, 0), amplitude, generator
        )
        step, amplitude = half, amplitude / decay
    heights -= heights.min()
    return heights / float(heights.max())


def _four(corners: Array, others: Array) -> Array:
    below = corners + np.roll(others, -1, 0)
    return below + np.roll(below, -1, 1)


def _displaced(total: Array, amplitude: float, generator: Generator) -> Array:
    return total / 4 + amplitude * generator.uniform(-amplitude, amplitude, total.shape)


def snow(
    x: Array,
    generator: Generator,
    mean: float,
    deviation: float,
    zoom: float,
    threshold: float,
    radius: float,
    streak: float,
    kept: float,
) -> Array:
    """Return x, whitened, with flakes: enlarged noise above a threshold, blurred along a line, and the same turned."""
    flakes = enlarged(generator.normal(mean, deviation, (1, *x.shape[1:])), zoom)
    flakes = np.floor(np.clip(np.where(flakes < threshold, 0, flakes), 0, 1) * FULL) / FULL
    flakes = motion_filter(flakes, radius, streak, angle=float(generator.uniform(-135, -45)))
    grey = np.tensordot(_LUMA, x, axes=1)[None] if len(x) == len(_LUMA) else x.mean(0, keepdims=True)
    whitened = kept * x + (1 - kept) * np.maximum(x, grey * 1.5 + 0.5)
    return whitened + flakes + flakes[:, ::-1, ::-1]
