"""What theory knows of a signal of any network: E x x' over channels, of every two positions of the samples.

Letters: x_{c,p} is channel c at position p, where a position is a sample and a place in it (a token, a pixel). The
channels are independent draws of one Gaussian process; K[p,p'] = E_c x x', of which the diagonal is E_c x².
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sppkit.theory.arrays import Floats, Indices


class OutOfReachError(Exception):
    """The theory does not hold here: the curve ends, and the text says why."""


@dataclass(frozen=True)
class Gram:
    """A signal.

    Attributes:
        sizes: Of the axes that positions are counted along, in the order of the flattened ones; the first is that of
            the samples.
        products: K, of shape (positions, positions).
        mean: E_c x, of shape (positions,): 0 behind a layer of random weights without bias.
        channels: Number of channels.
        samples: In the whole batch, of which the first axis may hold a part.
        drift: Relative variance of the channel variance from seed to seed.
    """

    sizes: tuple[int, ...]
    products: Floats
    mean: Floats
    channels: int
    samples: int
    drift: float = 0.0

    @property
    def second(self) -> Floats:
        """E x² of each position."""
        return np.asarray(np.diagonal(self.products))

    @property
    def power(self) -> float:
        """E x² in the mean over positions."""
        return float(self.second.mean())

    def scaled(self, factor: float) -> Gram:
        """Return the signal times a number.

        Args:
            factor: The number.

        Returns:
            The signal.
        """
        return replace(self, products=factor * factor * self.products, mean=factor * self.mean)

    def shifted(self, offset: float) -> Gram:
        """Return the signal plus a number.

        Args:
            offset: The number.

        Returns:
            The signal.
        """
        more = offset * (self.mean[:, None] + self.mean[None, :]) + offset * offset
        return replace(self, products=self.products + more, mean=self.mean + offset)

    def times(self, factors: Floats) -> Gram:
        """Return the signal times a number of each position.

        Args:
            factors: Shape (positions,).

        Returns:
            The signal.
        """
        return replace(self, products=self.products * factors[:, None] * factors[None, :], mean=self.mean * factors)

    def taken(self, positions: Indices, sizes: tuple[int, ...]) -> Gram:
        """Return the signal at some positions, any of them any number of times.

        Args:
            positions: Indices of the flattened positions.
            sizes: Of the axes that these are counted along.

        Returns:
            The signal.
        """
        index = positions
        if len(index) == len(self.mean) and np.array_equal(index, np.arange(len(index))):
            return replace(self, sizes=sizes)
        return replace(self, sizes=sizes, products=self.products[np.ix_(index, index)], mean=self.mean[index])


def over_batch(gram: Gram) -> Floats:
    """Return the mean of K over everything in the batch that the other position may be.

    Of a batch of N samples, of which n are held, the sample itself counts 1/N and the others 1 - 1/N.

    Args:
        gram: The signal.

    Returns:
        Shape (positions,).
    """
    held, places = gram.sizes[0], len(gram.mean) // gram.sizes[0]
    rows = gram.products.reshape(held, places, held, places).mean(axis=3)
    own = rows[np.arange(held), :, np.arange(held)]
    if held == 1:
        return np.asarray(own.reshape(-1))
    others = (rows.sum(axis=2) - own) / (held - 1)
    return np.asarray((own / gram.samples + others * (1 - 1 / gram.samples)).reshape(-1))


def squared_mean_and_variance(gram: Gram) -> tuple[float, float]:
    """Return the channel squared mean and the channel variance.

    The square of a mean is the mean over all pairs, (mean over p of x)² = mean over p, p' of x x'.

    Args:
        gram: The signal.

    Returns:
        Squared mean and variance, no less than 0.
    """
    squared_mean = float(over_batch(gram).mean())
    return max(0.0, squared_mean), max(0.0, gram.power - squared_mean)


def mean_square_correlation(gram: Gram) -> float:
    """Return the mean over all pairs of the squared covariance around the channels' means, over the variance squared.

    Of k independent values it is 1/k: its inverse counts how many a channel has.

    Args:
        gram: The signal.

    Returns:
        Between 0 and 1; 0 where there is no variance.
    """
    rows = over_batch(gram)
    centred = gram.products - rows[:, None] - rows[None, :] + rows.mean()
    power = float(np.diagonal(centred).mean())
    if not power > 0:
        return 0.0
    held, places = gram.sizes[0], len(gram.mean) // gram.sizes[0]
    squares = np.square(centred).reshape(held, places, held, places).mean(axis=(1, 3))
    own = float(np.diagonal(squares).mean())
    others = float((squares.sum() - np.trace(squares)) / (held * (held - 1))) if held > 1 else 0.0
    share = 1 / gram.samples
    return min(1.0, (share * own + (1 - share) * others) / power**2)
