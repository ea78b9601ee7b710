"""One layer each: from the covariances of its input to those of its output.

docs/theory.md derives every formula.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sppkit.errors import UsageError
from sppkit.registry import weight_facts
from sppkit.theory.activation import arc_cosine, correlation
from sppkit.theory.grid import Grid
from sppkit.theory.scatter import Response, behind_convolution
from sppkit.theory.signal import (
    BATCH,
    OTHER,
    SAME,
    Signal,
    mean_over_batch,
    mean_over_pairs,
    mean_over_positions,
    mean_square_correlation,
)
from sppkit.theory.window import mean_over_pairs_of_taps, mean_over_taps, positions_seen

if TYPE_CHECKING:
    from sppkit.theory.activation import Moments, Nonlinearity
    from sppkit.theory.arrays import Floats
    from sppkit.theory.grid import Axis
    from sppkit.theory.signal import Batch


# Weight standardization as published adds this to the standard deviation of a filter's weights.
_WS_EPSILON = 1e-5


@dataclass(frozen=True)
class Filters:
    """The distribution of a convolution's weights.

    Attributes:
        scale: Sum of the squared weights of a filter, in the mean over filters.
        centred: Whether the weights of each filter sum to 0.
        fan_in: Number of weights of a filter.
        excess: Of the output: -2/(N - 1) for filters of one length in N - 1 dimensions, 0 for normal weights.
    """

    scale: float
    centred: bool
    fan_in: int
    excess: float


def filters(parametrization: str, *, c: float, fan_in: int) -> Filters:
    """Return what a weight parametrization makes of N(0, c/fan_in) weights.

    Let N be fan_in. Removing the mean leaves E w w^T = c/N (1 - 11^T/N), whose trace is c (1 - 1/N), and an output
    whose variance over filters is c/N times the sum of squared deviations of the N inputs from their mean, that is
    c (1 - 1/N) times their unbiased variance. ``scaled-ws`` makes the sum of squares c exactly, ``ws`` N - 1.

    Args:
        parametrization: A registered name.
        c: Weight variance times fan_in.
        fan_in: Number of weights of a filter.

    Returns:
        The distribution.

    Raises:
        UsageError: If it is not known.
    """
    known = weight_facts(parametrization)
    if known.squares is None or known.centred is None:
        raise UsageError(f"the recursion does not know what {parametrization} makes of a filter's weights.")
    scale = {
        "drawn": c * (1 - 1 / fan_in) if known.centred else c,
        "c": c,
        "fan-in": (fan_in - 1) / (1 + _WS_EPSILON * math.sqrt(fan_in / c)) ** 2,
    }[known.squares]
    of_one_length = known.squares != "drawn" and fan_in > 2
    return Filters(scale, known.centred, fan_in, -2 / (fan_in - 1) if of_one_length else 0.0)


def white_noise(rows: Axis, columns: Axis) -> Signal:
    """Return independent N(0, 1) numbers.

    Args:
        rows: Rows of the image.
        columns: Columns of the image.

    Returns:
        The signal.
    """
    grid = Grid(rows, columns, square=rows == columns)
    return Signal(grid, np.ones(grid.shape), np.zeros(grid.shape), {OTHER: np.zeros(len(grid.pairs.ends.first))})


def convolve(signal: Signal, weights: Filters, *, kernel: int = 1, stride: int = 1) -> Signal:
    """Convolve with filters of independent weights, zero-padded by half a kernel.

    E y y' = scale * (mean over taps of E x x' - (mean over taps of E x) (the same at the other position)), the second
    term only for centred filters. A tap outside the map counts as 0 in a mean over all of them.

    Args:
        signal: The input.
        weights: Distribution of the filters.
        kernel: Size of the kernel.
        stride: Of the convolution.

    Returns:
        The output; its mean is 0, since the sign of a filter is random.
    """
    taps, response = kernel * kernel, signal.response
    average = functools.partial(mean_over_taps, grid=signal.grid, kernel=kernel, stride=stride)
    grid, _ = positions_seen(signal.grid, kernel, stride)
    second = average(signal.second)
    pairs = signal.map_pairs(lambda pair: mean_over_pairs_of_taps(pair, signal.grid, kernel, stride))
    if weights.centred:
        response = response.about_mean()
        mean = average(signal.mean)
        second = second - mean * mean
        if signal.mean_spread is not None:
            second = second - average(signal.mean_spread) / taps
        product = grid.pairs.ends.product(mean)
        pairs = {kind: pair - product for kind, pair in pairs.items()}
    scatter = behind_convolution(signal.scatter, response, fan_in=weights.fan_in, taps=taps, excess=weights.excess)
    output = Signal(grid, second, np.zeros_like(second), pairs, scatter)
    return output.scaled(math.sqrt(weights.scale))


def activate(signal: Signal, activation: Nonlinearity, gain: float) -> Signal:
    """Apply gain * phi to a nearly Gaussian signal of mean 0.

    The scatter enters to first order. A Gaussian is a signal of excess e times a random scale whose square has mean 1
    and variance -e, so that a moment g(D) of the Gaussian is the signal's plus -e/2 D² g''(D), and the signal's is
    g + e/2 D² g''. A jitter j of D itself adds j/2 D² g''. For two positions, E phi phi' = sum_k a_k a_k' rho^k in
    Hermite coefficients: the product of the means takes part in their correction, and the coupling puts coupling/2 on
    a_2 a_2', as a variance of rho would. And a_2 = sqrt(2) D m'(D).

    Args:
        signal: The input.
        activation: phi.
        gain: Factor after it.

    Returns:
        The output.
    """
    scatter = signal.scatter
    ends = signal.grid.pairs.ends
    at, products = activation.transform(signal.second, signal.pairs, ends)
    bend = (scatter.excess + scatter.jitter) / 2
    mean, second = at.mean + bend * at.mean_bend, at.second + bend * at.second_bend
    more = ends.product(mean) - ends.product(at.mean) + scatter.coupling * ends.product(at.mean_slope)
    pairs = {kind: pair + more for kind, pair in products.items()}
    response, mean_spread = _respond(signal.grid, at), scatter.jitter * at.mean_slope**2
    return Signal(signal.grid, second, mean, pairs, scatter, response, mean_spread).scaled(gain)


def _respond(grid: Grid, at: Moments) -> Response:
    average = grid.mean
    return Response(
        second=average(at.second),
        square=average(at.mean**2),
        linear=average(at.linear**2),
        second_slope=average(at.second_slope),
        square_slope=average(2 * at.mean * at.mean_slope),
        fourth=average(at.fourth),
        central_fourth=average(at.fourth - 4 * at.mean * at.third + 6 * at.mean**2 * at.second - 3 * at.mean**4),
        tilt=average(at.squared_linear - 2 * at.mean * at.linear),
    )


def normalize(signal: Signal, batch: Batch, epsilon: float) -> Signal:
    """Subtract each channel's mean over the batch and divide by its standard deviation.

    Args:
        signal: The input.
        batch: What the statistics are taken over; every batch has its own.
        epsilon: Added to the variance.

    Returns:
        The output. The variance of a channel is taken to be the mean over channels.
    """
    partners = mean_over_batch(signal, batch)
    overall = mean_over_positions(signal, partners)
    centring = signal.grid.pairs.ends.total(partners) - overall
    second = signal.second - 2 * partners + overall
    pairs = {kind: pair - centring for kind, pair in signal.pairs.items() if kind != BATCH}
    if batch.batches > 1:
        pairs[BATCH] = _centre_between(signal)
    # The mean over channels loses its own mean over positions.
    mean = signal.mean - mean_over_positions(signal, signal.mean)
    variance = mean_over_positions(signal, second)
    output = Signal(signal.grid, second, mean, pairs)
    # A channel of K independent values has one length, as a filter of K weights has. Its mean is 0, its variance is
    # reset.
    excess = -2 * mean_square_correlation(output, batch, around_means=False)
    scatter = replace(signal.scatter, excess=excess, carried=0.0, drift=0.0, mean_drift=0.0)
    centred = replace(output, scatter=scatter, response=signal.response.about_mean(), mean_spread=signal.mean_spread)
    return centred.scaled(1 / math.sqrt(variance + epsilon))


def _centre_between(signal: Signal) -> Floats:
    partners = signal.grid.mean_over_second(signal.pair(BATCH))
    overall = mean_over_positions(signal, partners)
    return signal.pair(BATCH) - (signal.grid.pairs.ends.total(partners) - overall)


def squeeze_and_excite(signal: Signal, factor: float) -> Signal:
    """Multiply every channel of every sample by factor * sigmoid(s), s from the sample's means over space.

    The means over space have a second moment q, and q' between two samples. Two linear layers of weight variance
    1/fan_in with a ReLU between them make of it s ~ N(0, q/2) and a covariance of q k(q'/q), k the arc-cosine kernel.

    Args:
        signal: The input, of mean 0.
        factor: What the gate is multiplied by.

    Returns:
        The output.
    """
    # A mean that centred filters took away comes out within the recursion's own error of 0, on either side.
    own = max(0.0, mean_over_pairs(signal, SAME))
    gates = {SAME: factor**2 * _gates(own / 2, own / 2)}
    for kind in signal.pairs.keys() - {SAME}:
        between = mean_over_pairs(signal, kind)
        rho = correlation(np.array(between), np.array(own))
        gates[kind] = factor**2 * _gates(own / 2, own * float(arc_cosine(rho)))
    pairs = {kind: gate * signal.pair(kind) for kind, gate in gates.items()}
    return replace(signal, second=gates[SAME] * signal.second, pairs=pairs)


def _gates(variance: float, covariance: float) -> float:
    """Return E sigmoid(s) sigmoid(s') of two normal numbers, by the trapezoidal rule."""
    z = np.linspace(-9.0, 9.0, 289)
    weight = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    rho = 0.0 if variance == 0 else min(1.0, max(-1.0, covariance / variance))
    std = math.sqrt(variance)
    other = rho * z[:, None] + math.sqrt(1 - rho * rho) * z
    return float((weight * _sigmoid(std * z)) @ (_sigmoid(std * other) @ weight))


def gate_moments(variance: float) -> tuple[float, float]:
    """Return E sigmoid(s)² and E sigmoid'(s)² of a normal number s.

    Args:
        variance: Of s.

    Returns:
        Both moments.
    """
    z = np.linspace(-9.0, 9.0, 289)
    weight = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    gate = _sigmoid(math.sqrt(variance) * z)
    return float(weight @ gate**2), float(weight @ (gate * (1 - gate)) ** 2)


def _sigmoid(x: Floats) -> Floats:
    return (1 + np.tanh(x / 2)) / 2


def drop(signal: Signal, keep: float) -> Signal:
    """Drop each sample with probability 1 - keep, without rescaling what is kept.

    Args:
        signal: The input.
        keep: Share of the samples that are kept.

    Returns:
        The output.
    """
    return signal if keep == 1 else signal.weighted(position=keep, same=keep, other=keep * keep)
