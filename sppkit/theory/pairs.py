"""Pairs of positions, those that are alike kept once.

A covariance has no first and second position, E x x' = E x' x. In a network with a square input nothing changes either
where rows and columns change places. So of the n² pairs of n positions about n²/2 can differ, or n²/4: these are
carried, as a vector.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from sppkit.theory.arrays import Floats, Indices, ShortIndices


class Ends(NamedTuple):
    """Both positions of each pair, as indices into the flattened map."""

    first: Indices
    second: Indices

    def product(self, values: Floats) -> Floats:
        """Multiply a quantity of the position by itself at the other end.

        Args:
            values: Of each position, any shape.

        Returns:
            Of each pair.
        """
        return np.asarray(values.take(self.first) * values.take(self.second))

    def total(self, values: Floats) -> Floats:
        """Add a quantity of the position at both ends.

        Args:
            values: Of each position, any shape.

        Returns:
            Of each pair.
        """
        return np.asarray(values.take(self.first) + values.take(self.second))


NO_PAIRS = Ends(np.empty(0, np.intp), np.empty(0, np.intp))


class Pairs(NamedTuple):
    """The pairs that are told apart.

    Attributes:
        ends: Of each.
        where: Which of them two positions are, of shape (n + 1, n + 1): the last index is a position outside the map,
            whose pairs are one more after all others.
        rows: Which of them each position makes with all, of shape (positions that are told apart, n).
        alike: Which of these rows is every position's, of shape (n,).
    """

    ends: Ends
    where: ShortIndices
    rows: ShortIndices
    alike: Indices

    def mean_over_second(self, values: Floats, weights: Floats) -> Floats:
        """Average over the second position.

        Args:
            values: Of each pair.
            weights: Share of every position, of shape (n,).

        Returns:
            Of every first position, of shape (n,).
        """
        # Not with BLAS: its threads cost more processor time than they save, and make the last digit hang on them.
        return np.asarray(np.einsum("ij,j", values.take(self.rows), weights)).take(self.alike)

    def at_one_position(self, values: Floats) -> Floats:
        """Return a quantity of every position with itself.

        Args:
            values: Of each pair.

        Returns:
            Shape (n,).
        """
        return values.take(self.where.diagonal()[:-1])


# The next stage's maps often have as many positions. For 441 of them the indices take 2 to 3 MB.
@functools.lru_cache(maxsize=1)
def distinct_pairs(rows: int, columns: int, *, square: bool) -> Pairs:
    """Return the pairs of positions of a map that are told apart.

    Args:
        rows: How many are told apart.
        columns: The same.
        square: Whether rows and columns can change places.

    Returns:
        The pairs.
    """
    n = rows * columns
    positions, number = np.arange(n), np.arange(n * n).reshape(n, n)
    mirrored = positions.reshape(rows, columns).T.ravel() if square else positions
    smallest = np.minimum(number, number.T)
    smallest = np.minimum(smallest, smallest[np.ix_(mirrored, mirrored)])
    kept = np.flatnonzero(smallest == number)
    place = np.empty(n * n, np.int32)
    place[kept] = np.arange(len(kept))
    where = np.full((n + 1, n + 1), len(kept), np.int32)
    where[:-1, :-1] = place[smallest]
    first, alike = np.unique(np.minimum(positions, mirrored), return_inverse=True)
    return Pairs(Ends(kept // n, kept % n), where, where[first, :-1], alike)
