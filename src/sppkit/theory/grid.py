"""Positions of a feature map, those that are alike counted together.

What a position knows of the border fades with its distance to it. So a map with more than 2 * REACH rows is described
by its REACH first and REACH last ones and a single row that stands for all between them, with their number as its
weight; the same for columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Indices: TypeAlias = NDArray[np.intp]

# Rows from the border that are told apart; docs/theory.md has the error against all of them.
REACH = 10


class Taps(NamedTuple):
    """What a kernel sees along one axis.

    Attributes:
        axis: The axis of its output.
        classes: Of the input, under each tap; of shape (taps, classes of the output), -1 outside the map.
    """

    axis: Axis
    classes: Indices


@dataclass(frozen=True)
class Axis:
    """One side of a map.

    Attributes:
        size: Rows (or columns) of the map.
        circular: Whether a convolution goes on at the other end.
        reach: Rows from either border that are told apart.
    """

    size: int
    circular: bool = False
    reach: int = REACH

    @property
    def positions(self) -> Indices:
        """One position of each class, ascending."""
        if not self._grouped:
            return np.arange(self.size)
        return np.concatenate((np.arange(self.reach), [self.size // 2], np.arange(self.size - self.reach, self.size)))

    @property
    def counts(self) -> Floats:
        """How many positions each class has."""
        counts = np.ones(len(self.positions))
        if self._grouped:
            counts[self.reach] = self.size - 2 * self.reach
        return counts

    @property
    def _grouped(self) -> bool:
        # At least three in the middle, so that its representative's neighbours are of its class.
        return self.size > 2 * self.reach + 2

    def classes(self, positions: Indices) -> Indices:
        """Return the class of each position.

        Args:
            positions: Any shape; those outside the map are -1.

        Returns:
            Index into ``positions``, or -1.
        """
        if not self._grouped:
            return positions
        middle = np.clip(positions, -1, self.reach)
        return np.where(positions >= self.size - self.reach, positions - self.size + 2 * self.reach + 1, middle)

    def taps(self, kernel: int, stride: int) -> Taps:
        """Return what a kernel of odd size sees, padded by half of it on both sides.

        Args:
            kernel: Number of taps.
            stride: Of the kernel.

        Returns:
            The axis of its output, and the class under each tap.
        """
        output = Axis((self.size - 1) // stride + 1, self.circular, self.reach)
        seen = output.positions * stride + np.arange(kernel)[:, None] - kernel // 2
        if self.circular:
            return Taps(output, self.classes(seen % self.size))
        return Taps(output, self.classes(np.where((seen >= 0) & (seen < self.size), seen, -1)))


class Grid(NamedTuple):
    """A map: its rows and its columns."""

    rows: Axis
    columns: Axis

    @property
    def size(self) -> int:
        """Number of positions."""
        return self.rows.size * self.columns.size

    @property
    def weights(self) -> Floats:
        """Share of the positions that each class has, of shape (rows, columns)."""
        return np.outer(self.rows.counts, self.columns.counts) / self.size


def mean_over_taps(values: Floats, rows: Taps, columns: Taps) -> Floats:
    """Average a quantity of the position over the taps of a kernel; a tap outside the map counts as 0.

    Args:
        values: Shape (rows, columns).
        rows: What the kernel sees of the rows.
        columns: Of the columns.

    Returns:
        Shape (rows', columns').
    """
    for axis, (_, classes) in enumerate((rows, columns)):
        padded = np.concatenate((values, np.zeros_like(np.take(values, [0], axis))), axis)
        values = np.mean([np.take(padded, tap, axis) for tap in classes], axis=0)
    return values


def mean_over_pairs_of_taps(values: Floats, rows: Taps, columns: Taps) -> Floats:
    """Average a quantity of two positions over the taps of a kernel, the same tap at both.

    Args:
        values: Shape (rows, columns, rows, columns).
        rows: What the kernel sees of the rows.
        columns: Of the columns.

    Returns:
        Shape (rows', columns', rows', columns').
    """
    for first, (_, classes) in enumerate((rows, columns)):
        width = [(0, 1) if axis % 2 == first else (0, 0) for axis in range(4)]
        padded = np.pad(values, width)  # class -1 is a row of zeros
        total = 0.0
        for tap in classes:
            total = total + np.take(np.take(padded, tap, first), tap, first + 2)
        values = np.asarray(total) / len(classes)
    return values
