"""Positions of a feature map, those that are alike counted together.

What a position knows of the border fades with its distance to it. So a map with more than 2 * REACH rows is described
by its REACH first and REACH last ones and a single row that stands for all between them, with their number as its
weight; the same for columns.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sppkit.theory.pairs import distinct_pairs

if TYPE_CHECKING:
    from sppkit.theory.arrays import Floats, Indices
    from sppkit.theory.pairs import Pairs

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

    def readers(self, kernel: int, stride: int) -> Floats:
        """Return how often the positions of a kernel's output read those of this axis.

        Args:
            kernel: Number of taps.
            stride: Of the kernel.

        Returns:
            For a position of each class here, in the mean over the class, the number of taps on it from each class of
            the output; of shape (classes here, classes of the output).
        """
        output = Axis((self.size - 1) // stride + 1, self.circular, self.reach)
        reader = np.broadcast_to(np.arange(output.size), (kernel, output.size))
        seen = reader * stride + np.arange(kernel)[:, None] - kernel // 2
        inside = np.full(seen.shape, True) if self.circular else (seen >= 0) & (seen < self.size)
        read, reading = self.classes(seen[inside] % self.size), output.classes(reader[inside])
        taps = np.zeros((len(self.positions), len(output.positions)))
        np.add.at(taps, (read, reading), 1.0)
        return taps / self.counts[:, None]

    def overlap(self, kernel: int) -> float:
        """Return how many taps of a kernel two outputs have in common that are inside the map, over those of one.

        Args:
            kernel: Number of taps.

        Returns:
            The share, in the mean over both outputs; 1 on a circular axis.
        """
        if self.circular:
            return 1.0
        reached = np.maximum(0, self.size - np.abs(np.arange(kernel) - kernel // 2)) / self.size
        return float(np.sum(reached**2) / np.sum(reached))


@dataclass(frozen=True)
class Grid:
    """A map, and what is computed of it once for all signals on it.

    Attributes:
        rows: Its rows.
        columns: Its columns.
        square: Whether rows and columns can change places in whatever is known of the signal on it.
    """

    rows: Axis
    columns: Axis
    square: bool = False

    @property
    def size(self) -> int:
        """Number of positions."""
        return self.rows.size * self.columns.size

    @functools.cached_property
    def shape(self) -> tuple[int, int]:
        """How many rows and columns are told apart."""
        return len(self.rows.positions), len(self.columns.positions)

    @functools.cached_property
    def pairs(self) -> Pairs:
        """The pairs of positions that are told apart."""
        return distinct_pairs(*self.shape, square=self.square)

    @functools.cached_property
    def weights(self) -> Floats:
        """Share of the positions that each class has, of shape (rows, columns)."""
        return np.outer(self.rows.counts, self.columns.counts) / self.size

    @functools.cached_property
    def pair_weights(self) -> Floats:
        """Share of all pairs of positions that each pair has."""
        ends, where = self.pairs.ends, self.pairs.where
        alike = np.bincount(where[:-1, :-1].ravel(), minlength=len(ends.first))
        return alike * ends.product(self.weights)

    def mean(self, values: Floats) -> float:
        """Average over all positions.

        Args:
            values: Shape (rows, columns).

        Returns:
            The mean.
        """
        return float(np.einsum("ij,ij", self.weights, values))

    def mean_over_pairs(self, values: Floats) -> float:
        """Average over all pairs of positions.

        Args:
            values: Of each pair that is told apart.

        Returns:
            The mean.
        """
        return float(np.sum(self.pair_weights * values))

    def mean_over_second(self, values: Floats) -> Floats:
        """Average over the second position of all pairs.

        Args:
            values: Of each pair that is told apart.

        Returns:
            Shape (rows, columns).
        """
        return self.pairs.mean_over_second(values, self.weights.ravel()).reshape(self.shape)
