"""What theory knows of a signal: covariances between positions, the channels being independent draws.

Letters: x_{c,n,p} is channel c of sample n at position p, N the batch size, P the number of positions. All averages
are over channels, in the limit of many.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sppkit.theory.scatter import UNCHANGED, Response, Scatter

if TYPE_CHECKING:
    from collections.abc import Callable

    from sppkit.theory.arrays import Floats
    from sppkit.theory.grid import Grid

# The pairs of positions that are told apart, beside a position with itself.
SAME, OTHER, BATCH = "same", "other", "batch"


@dataclass(frozen=True)
class Signal:
    """Second moments of a signal.

    Attributes:
        grid: The map.
        second: E x², of shape (rows, columns).
        mean: E x, of the same shape; 0 after a convolution, whose filters have either sign.
        pairs: E x x' of two positions, each of the grid's distinct pairs: ``other`` of two samples of one batch;
            ``same`` of one sample at two places, and ``batch`` of samples of two batches, where these differ from
            ``other``.
        scatter: How far it is from the limit of many channels.
        response: What the last activation did, for the convolution after it.
        mean_spread: Variance of the mean over channels from sample to sample, of shape (rows, columns); None for 0.
    """

    grid: Grid
    second: Floats
    mean: Floats
    pairs: dict[str, Floats]
    scatter: Scatter = field(default_factory=Scatter)
    response: Response = UNCHANGED
    mean_spread: Floats | None = None

    def pair(self, kind: str) -> Floats:
        """Return E x x' of a kind of pairs.

        Args:
            kind: ``same``, ``other`` or ``batch``.

        Returns:
            Of the grid's distinct pairs.
        """
        return self.pairs.get(kind, self.pairs[OTHER])

    def map_pairs(self, function: Callable[[Floats], Floats]) -> dict[str, Floats]:
        """Apply a function to every kind of pairs.

        Args:
            function: From E x x' to E x x'.

        Returns:
            The new pairs.
        """
        return {kind: function(values) for kind, values in self.pairs.items()}

    def scaled(self, factor: float) -> Signal:
        """Return the signal times a number.

        Args:
            factor: The number.

        Returns:
            The signal.
        """
        square = factor * factor
        return replace(
            self,
            second=square * self.second,
            mean=factor * self.mean,
            pairs=self.map_pairs(lambda pair: square * pair),
            mean_spread=None if self.mean_spread is None else square * self.mean_spread,
        )

    def weighted(self, *, position: float, same: float, other: float) -> Signal:
        """Return the signal times a random factor of each sample, of which only the mean square is known.

        Args:
            position: Mean square of the factor.
            same: The mean of its product over two positions of one sample.
            other: Of two samples.

        Returns:
            The signal, its mean being 0.
        """
        pairs = self.map_pairs(lambda pair: other * pair) | {SAME: same * self.pair(SAME)}
        return replace(self, second=position * self.second, pairs=pairs)

    def plus(self, more: Signal) -> Signal:
        """Return the sum of two signals, one of which has filters of its own and so no covariance with the other.

        Args:
            more: The other signal.

        Returns:
            The sum.
        """
        kinds = [kind for kind in (SAME, OTHER, BATCH) if kind in self.pairs or kind in more.pairs]
        pairs = {kind: self.pair(kind) + more.pair(kind) for kind in kinds}
        mine, its = (mean_over_positions(part, part.second) for part in (self, more))
        scatter = self.scatter.sharing(more.scatter, mine / (mine + its) if mine + its > 0 else 0.0)
        return Signal(self.grid, self.second + more.second, self.mean + more.mean, pairs, scatter)


class Batch(NamedTuple):
    """How many samples a statistic is taken over.

    Attributes:
        samples: In one batch, N.
        batches: How many batches.
    """

    samples: int
    batches: int = 1


def mean_over_positions(signal: Signal, values: Floats) -> float:
    """Average over all positions.

    Args:
        signal: Whose map it is.
        values: Shape (rows, columns).

    Returns:
        The mean.
    """
    return signal.grid.mean(values)


def mean_over_pairs(signal: Signal, kind: str) -> float:
    """Average E x x' over both positions.

    Args:
        signal: The signal.
        kind: Kind of pairs.

    Returns:
        The mean. Of one sample, the second position may be the first.
    """
    mean = signal.grid.mean_over_pairs(signal.pair(kind))
    return mean + signal.grid.mean(_own_excess(signal)) if kind == SAME else mean


def _own_excess(signal: Signal) -> Floats:
    """Return what a position with itself has more than two of its class, over the number of positions."""
    own_class = signal.grid.pairs.at_one_position(signal.pair(SAME)).reshape(signal.grid.shape)
    return (signal.second - own_class) / signal.grid.size


def mean_over_batch(signal: Signal, batch: Batch) -> Floats:
    """Average E x x' over everything in a batch that x' may be.

    Args:
        signal: The signal.
        batch: Its size.

    Returns:
        Shape (rows, columns).
    """
    return _over_batch(signal, batch, signal.map_pairs(signal.grid.mean_over_second))


def _over_batch(signal: Signal, batch: Batch, means: dict[str, Floats]) -> Floats:
    share = 1 / batch.samples
    same = means.get(SAME, means[OTHER]) + _own_excess(signal)
    return share * same + (1 - share) * means[OTHER]


def squared_mean_and_variance(signal: Signal, batch: Batch) -> tuple[float, float]:
    """Return the channel squared mean and the channel variance.

    The square of a mean is the mean over all pairs: E_c (mean over n, p of x)² = mean over (n, p), (n', p') of E x x'.
    The variance is what is left of mean E x².

    Args:
        signal: The signal.
        batch: Samples and batches.

    Returns:
        Squared mean and variance; exactly no less than 0.
    """
    means = {kind: signal.grid.mean_over_pairs(pair) for kind, pair in signal.pairs.items()}
    same = means.get(SAME, means[OTHER]) + mean_over_positions(signal, _own_excess(signal))
    within = same / batch.samples + means[OTHER] * (1 - 1 / batch.samples)
    squared_mean = within / batch.batches + means.get(BATCH, means[OTHER]) * (1 - 1 / batch.batches)
    return max(0.0, squared_mean), max(0.0, mean_over_positions(signal, signal.second) - squared_mean)


def mean_square_correlation(signal: Signal, batch: Batch, *, around_means: bool = True) -> float:
    """Return the mean over all pairs of a batch of covariance², over the mean square of a position, squared.

    Of K independent numbers it is about 1/K: its inverse counts how many independent values a channel has.

    Args:
        signal: The signal.
        batch: Its size.
        around_means: Whether the channels' means are subtracted first.

    Returns:
        The mean, between 0 and 1; 0 where there is no variance.
    """
    nothing = np.zeros_like(signal.second)
    means = signal.map_pairs(signal.grid.mean_over_second) if around_means else {OTHER: nothing}
    partners = _over_batch(signal, batch, means) if around_means else nothing
    overall = mean_over_positions(signal, partners)
    second = signal.second - 2 * partners + overall
    power = mean_over_positions(signal, second)
    if not power > 0:
        return 0.0
    # Of r + r' - m, m the mean of r, which is what centring subtracts.
    centring = 2 * mean_over_positions(signal, partners**2) - overall**2

    def mean_square(kind: str) -> float:
        pair, rows = signal.pair(kind), means.get(kind, means[OTHER])
        squares = signal.grid.mean_over_pairs(pair * pair)
        crossed = 2 * mean_over_positions(signal, rows * partners) - overall * mean_over_positions(signal, rows)
        return squares - 2 * crossed + centring

    other = mean_square(OTHER)
    same = mean_square(SAME) if SAME in signal.pairs else other
    own = mean_over_positions(signal, second**2) / signal.grid.size
    return max(0.0, (own + same) / batch.samples + other * (1 - 1 / batch.samples)) / power**2
