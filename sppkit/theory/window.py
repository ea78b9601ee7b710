"""What a convolution's kernel sees of the map before it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from sppkit.theory.grid import Grid

if TYPE_CHECKING:
    from sppkit.theory.arrays import Floats, Indices, ShortIndices


# All blocks of a stage have two, a 1x1 and a 3x3 kernel; its first block has two more, with a stride.
@functools.lru_cache(maxsize=4)
def positions_seen(grid: Grid, kernel: int, stride: int) -> tuple[Grid, Indices]:
    """Return the output's map, and the position under each tap.

    Args:
        grid: The map of the input.
        kernel: Size of the kernel.
        stride: Of the convolution.

    Returns:
        The map, and indices into the input's flattened map, of shape (taps, positions of the output), -1 outside.
    """
    rows, columns = grid.rows.taps(kernel, stride), grid.columns.taps(kernel, stride)
    y, x = rows.classes[:, None, :, None], columns.classes[None, :, None, :]
    seen = np.where((y < 0) | (x < 0), -1, y * grid.shape[1] + x)
    return Grid(rows.axis, columns.axis, grid.square), seen.reshape(kernel * kernel, -1)


# All blocks of a stage have one, its first block two more. Up to 2 MB each with a square input, else twice as much.
@functools.lru_cache(maxsize=2)
def _pairs_seen(grid: Grid, kernel: int, stride: int) -> ShortIndices:
    """Return the pair under each tap, the same tap at both ends; a pair with a position outside comes after all."""
    output, seen = positions_seen(grid, kernel, stride)
    ends, where = output.pairs.ends, grid.pairs.where
    return np.stack([where[tap.take(ends.first), tap.take(ends.second)] for tap in seen])


def mean_over_taps(values: Floats, grid: Grid, kernel: int, stride: int) -> Floats:
    """Average a quantity of the position over the taps of a kernel; a tap outside the map counts as 0.

    Args:
        values: Shape (rows, columns).
        grid: The map.
        kernel: Size of the kernel.
        stride: Of the convolution.

    Returns:
        Shape (rows', columns').
    """
    if kernel == stride == 1:
        return values
    output, seen = positions_seen(grid, kernel, stride)
    # Index -1 is the 0 after all positions.
    return np.asarray(np.append(values, 0.0).take(seen).mean(axis=0)).reshape(output.shape)


def mean_over_pairs_of_taps(values: Floats, grid: Grid, kernel: int, stride: int) -> Floats:
    """Average a quantity of two positions over the taps of a kernel, the same tap at both.

    Args:
        values: Of each pair of the map.
        grid: The map.
        kernel: Size of the kernel.
        stride: Of the convolution.

    Returns:
        Of each pair of the output's map.
    """
    if kernel == stride == 1:
        return values
    if not values.any():  # white noise, before a stem that may have 49 taps
        return np.zeros(len(positions_seen(grid, kernel, stride)[0].pairs.ends.first))
    padded, seen = np.append(values, 0.0), _pairs_seen(grid, kernel, stride)
    total = padded.take(seen[0])
    for tap in seen[1:]:
        total += padded.take(tap)
    return np.asarray(total / len(seen))


# As many kernels as a block has, with its shortcut.
@functools.lru_cache(maxsize=4)
def _readers(grid: Grid, kernel: int, stride: int) -> tuple[Floats, Floats]:
    return grid.rows.readers(kernel, stride), grid.columns.readers(kernel, stride)


def sum_over_readers(values: Floats, grid: Grid, kernel: int, stride: int) -> Floats:
    """Add up a quantity of a convolution's output over the taps that read each position of its input.

    Args:
        values: Of the output, shape (rows', columns').
        grid: The map of the input.
        kernel: Size of the kernel.
        stride: Of the convolution.

    Returns:
        Shape (rows, columns).
    """
    if kernel == stride == 1:
        return values
    rows, columns = _readers(grid, kernel, stride)
    return np.asarray(np.einsum("ir,rs,js->ij", rows, values, columns, optimize=True))


def overlap_of_taps(grid: Grid, kernel: int) -> float:
    """Return how many taps of a kernel two outputs have in common that are inside the map, over those of one.

    Args:
        grid: The map.
        kernel: Size of the kernel.

    Returns:
        The share, in the mean over both outputs.
    """
    return grid.rows.overlap(kernel) * grid.columns.overlap(kernel)
