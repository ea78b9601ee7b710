"""The backward recursion: the second moment of a gradient, from white noise at the last block to the stem.

G[p] is the mean over channels and samples of g², g the gradient with respect to a value at position p. Weights are
taken to be independent of the gradients that they carry (Schoenholz et al. 2017, arXiv:1611.01232), and gradients at
two positions to be uncorrelated, as the noise that is sent is. docs/theory-gradient.md derives every formula.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sppkit.theory.curve import LOST, Curve
from sppkit.theory.window import overlap_of_taps, sum_over_readers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sppkit.theory.arrays import Floats
    from sppkit.theory.grid import Grid
    from sppkit.theory.passage import Convolution, Normalization, Passage, Preparation
    from sppkit.theory.signal import Batch

# Of (G in the mean over a channel)² over G / K: how much of a gradient of K values points in one direction.
_WHITE = 1.0


@dataclass(frozen=True)
class Gradient:
    """A gradient at one place of the network.

    Attributes:
        grid: The map.
        second: G, of shape (rows, columns).
        common: Its share in the direction of a channel's mean, over the one that white noise has.
        noise: Relative variance of the covariance of two positions, over channels, around 0.
        drift: Relative variance of the mean G from seed to seed, beside what the block's output has.
        falls: How much a channel's G falls, in the logarithm, with its variance at this place.
    """

    grid: Grid
    second: Floats
    common: float = _WHITE
    noise: float = 0.0
    drift: float = 0.0
    falls: float = 0.0

    @property
    def mean(self) -> float:
        """G in the mean over positions."""
        return self.grid.mean(self.second)

    @property
    def positions(self) -> float:
        """How many positions the mean is over, in effect: (sum of G)² over the sum of G²."""
        mean = self.mean
        return self.grid.size * mean**2 / self.grid.mean(self.second**2) if mean > 0 else float(self.grid.size)


# The mean of a lognormal number is that of its logarithm plus half its variance, which from here on is all there is.
_MOST_VARIANCE = 50.0


def expected_gradients(passages: Sequence[Passage | None], batch: Batch) -> list[Curve]:
    """Follow white noise N(0, 1) back through a network.

    Deviations multiply on their way back, so that the mean of g² is nearly lognormal from seed to seed: of a variance
    of s² of its logarithm, its standard deviation is its mean times the root of exp(s²) - 1.

    Args:
        passages: Its blocks, in execution order; None where the signal is lost.
        batch: What the statistics are taken over.

    Returns:
        The second moment of the gradient at the stem's output, then at every block's.
    """
    known = [passage for passage in passages if passage is not None]
    if not known or len(known) < len(passages):
        return [LOST] * (len(passages) + 1)
    found = [
        Curve(value, value * math.sqrt(math.expm1(min(variance, _MOST_VARIANCE)))) if math.isfinite(value) else LOST
        for value, variance in _iter_backwards(known, batch.samples * batch.batches)
    ]
    return found[::-1]


def _iter_backwards(passages: Sequence[Passage], samples: int) -> Iterator[tuple[float, float]]:
    """Yield the mean of g² and the variance of its logarithm, at the last block's output and every block's input."""
    last = passages[-1].convolutions[-1]
    grid, channels = last.grid, last.channels[1]
    gradient = Gradient(grid, np.ones(grid.shape), noise=1 / channels)
    # The mean of n squares of standard normal numbers.
    variance = 2 / (samples * grid.size * channels)
    coherent = 0.0
    yield 1.0, variance
    for passage in reversed(passages):
        gradient, moved = _through_block(passage, gradient, samples)
        # The variance in front of a block is nearly that in front of the next one: their drifts add up, not their
        # squares, until a transition starts a new sum.
        before, coherent = coherent, moved if passage.shortcut is not None else coherent + moved
        variance += gradient.drift + (moved**2 if passage.shortcut is not None else coherent**2 - before**2)
        gradient = replace(gradient, drift=0.0)
        yield gradient.mean, variance


def _through_block(passage: Passage, gradient: Gradient, samples: int) -> tuple[Gradient, float]:
    """Return the gradient at a block's input, and how far the drift of the signal's variance moves it."""
    branch = replace(gradient, second=passage.keep * passage.branch_gain**2 * gradient.second)
    if passage.gate is not None:
        branch = replace(
            branch, second=passage.gate.square * branch.second + passage.gate.through * branch.mean / branch.grid.size
        )
    pairs = list(zip(passage.convolutions, passage.preparations, strict=True))
    for convolution, preparation in pairs[:0:-1]:
        branch = _prepared(_convolved(branch, convolution, samples), preparation, samples * convolution.channels[0])
    branch = _convolved(branch, pairs[0][0], samples)
    first, skip = passage.preparations[0], gradient
    if passage.shortcut is not None:
        branch = _add(_convolved(skip, passage.shortcut, samples), branch, passage.convolutions[0].channels[0], samples)
    branch = _prepared(branch, first, samples * passage.convolutions[0].channels[0])
    share = 1.0
    if passage.shortcut is None:
        share = branch.mean / (branch.mean + skip.mean)
        branch = _add(skip, branch, passage.convolutions[0].channels[0], samples)
    norm = first.normalization
    return branch, 0.0 if norm is None else share * math.sqrt(norm.drift)


def _add(one: Gradient, other: Gradient, channels: int, samples: int) -> Gradient:
    """Add what comes back two ways, which have filters of their own: their product over K values has mean 0."""  # noqa: DOC201
    total = one.mean + other.mean
    share = one.mean / total if total > 0 else 0.0
    crossed = 4 * share * (1 - share) / (samples * one.grid.size * channels)
    return Gradient(
        one.grid,
        one.second + other.second,
        share * one.common + (1 - share) * other.common,
        share**2 * one.noise + (1 - share) ** 2 * other.noise,
        share**2 * one.drift + (1 - share) ** 2 * other.drift + crossed,
        share * one.falls + (1 - share) * other.falls,
    )


def _convolved(gradient: Gradient, convolution: Convolution, samples: int) -> Gradient:
    """Return the gradient at a convolution's input: each value is read by c_out filters, under the taps that read it.

    The sum over them estimates the covariance of two positions with a relative variance of one over their number, and
    the mean over C channels of its squares drifts as that of a signal does.
    """
    into, out = convolution.channels
    kernel, stride = convolution.kernel, convolution.stride
    # A filter brings variance to its channel in proportion to its squared length, and G falls with that.
    length = 1 / (1 + convolution.uneven * convolution.brought * gradient.falls)
    second = length * convolution.square * out * sum_over_readers(gradient.second, convolution.grid, kernel, stride)
    taps = max(1.0, (kernel / stride) ** 2)
    fresh, carried = 1 / (out * taps), gradient.noise / taps
    # The lengths of the filters are in what is fresh: where they are all alike, or made good for, it does not count.
    lengths = fresh if convolution.uneven and not convolution.normalized else 0.0
    read = replace(gradient, grid=convolution.grid, second=second)
    own = 2 * (1 / (samples * read.positions) + carried + lengths) / into
    overlap = overlap_of_taps(convolution.grid, kernel) if stride == 1 else 0.0
    common = _WHITE - (_WHITE - gradient.common) * overlap
    return replace(read, common=common, noise=fresh + carried, drift=gradient.drift + own, falls=0.0)


def _prepared(gradient: Gradient, preparation: Preparation, values: int) -> Gradient:
    """Return the gradient before an activation and its normalization; a position has that many values of it."""
    norm = preparation.normalization
    if norm is not None and not norm.first:
        # What is projected out is seen where the activation passes a gradient on.
        gradient = _normalized(gradient, norm, preparation.steep)
        gradient = replace(gradient, second=max(0.0, 1 - preparation.tied) * gradient.second)
    # ReLU lets half of the squares pass, and a quarter of the products of two values.
    gradient = replace(
        gradient,
        second=preparation.slope * gradient.second,
        common=_WHITE - (_WHITE - gradient.common) * preparation.together,
        noise=gradient.noise * preparation.together**2,
        drift=gradient.drift + preparation.drift + 3 * preparation.uneven / (values * gradient.positions),
    )
    return _normalized(gradient, norm) if norm is not None and norm.first else gradient


def _normalized(gradient: Gradient, norm: Normalization, along: float = 1.0) -> Gradient:
    """Divide by a channel's deviation; take out what its mean and variance take out of a change of it."""  # noqa: DOC201
    kept = max(0.0, 1 - (gradient.common + along) / norm.values)
    return replace(gradient, second=norm.inverse * kept * gradient.second, common=0.0, falls=norm.follows)
