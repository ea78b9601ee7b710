"""Filters of pictures, (C, H, W) in float64: weighted sums of displaced copies, and values between pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sppkit.inputs.shifts.corruptions.arrays import Array

# What continues a picture beyond its border: its last value, its mirror with the border once, or with it twice.
Border = Literal["edge", "reflect", "symmetric"]


def gaussian_weights(deviation: float, radius: int) -> Array:
    """Return a Gaussian at -radius ... radius, with sum 1."""
    weights: Array = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    return weights / float(weights.sum())


def gaussian_filter(x: Array, deviation: float, border: Border = "edge", truncate: float = 4) -> Array:
    """Blur the last two axes by a Gaussian that is cut off at ``truncate`` deviations, as scipy.ndimage does."""
    radius = int(truncate * deviation + 0.5)
    if radius == 0:
        return x
    weights = gaussian_weights(deviation, radius)
    for axis in (-2, -1):
        x = _along(x, weights, axis, border)
    return x


def correlate(x: Array, kernel: Array, border: Border) -> Array:
    """Return the sum of displaced copies, the middle of an odd square kernel being no displacement."""
    radius = len(kernel) // 2
    padded = np.pad(x, ((0, 0), (radius, radius), (radius, radius)), mode=border)
    height, width = x.shape[1:]
    total = np.zeros_like(x)
    for row, column in zip(*np.nonzero(kernel), strict=True):
        total += kernel[row, column] * padded[:, row : row + height, column : column + width]
    return total


def displaced(x: Array, down: int, right: int) -> Array:
    """Return x with every value taken from so many pixels further down and to the right; the border continues."""
    height, width = x.shape[1:]
    rows = np.clip(np.arange(height) + down, 0, height - 1)
    columns = np.clip(np.arange(width) + right, 0, width - 1)
    return x[:, rows[:, None], columns]


def sample(x: Array, rows: Array, columns: Array, border: Border) -> Array:
    """Return the values at places between pixels, bilinear; ``rows`` and ``columns`` have the shape of the result."""
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = rows - top, columns - left
    total = np.zeros((len(x), *rows.shape), x.dtype)
    for step_down, weight_down in ((0, 1 - down), (1, down)):
        for step_right, weight_right in ((0, 1 - right), (1, right)):
            at = [
                _folded(index, size, border)
                for index, size in zip((top + step_down, left + step_right), x.shape[1:], strict=True)
            ]
            total += weight_down * weight_right * x[:, at[0], at[1]]
    return total


def _folded(index: Array, size: int, border: Border) -> Array:
    # Indices beyond the border onto those inside.
    if border == "edge" or size == 1:
        return np.clip(index, 0, size - 1)
    period = 2 * size if border == "symmetric" else 2 * size - 2
    folded = np.mod(index, period)
    last = period - 1 if border == "symmetric" else period
    return np.where(folded < size, folded, last - folded)


def _along(x: Array, weights: Sequence[float] | Array, axis: int, border: Border) -> Array:
    radius, length = len(weights) // 2, x.shape[axis]
    padding = [(0, 0)] * x.ndim
    padding[axis] = (radius, radius)
    padded = np.moveaxis(np.pad(x, padding, mode=border), axis, -1)
    total = sum(weight * padded[..., start : start + length] for start, weight in enumerate(weights))
    return np.moveaxis(np.asarray(total), -1, axis)
