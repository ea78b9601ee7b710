"""What a gradient meets on its way back through a block, noted on the way forward.

docs/theory-gradient.md derives every formula.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sppkit.theory.inverse_variance import scatter_of_variance
from sppkit.theory.signal import (
    SAME,
    Batch,
    mean_over_pairs,
    mean_over_positions,
    mean_square_correlation,
    squared_mean_and_variance,
)
from sppkit.theory.steps import gate_moments

if TYPE_CHECKING:
    from sppkit.theory.activation import Nonlinearity
    from sppkit.theory.arrays import Floats
    from sppkit.theory.grid import Grid
    from sppkit.theory.scatter import Response
    from sppkit.theory.signal import Signal

# Where a channel's variance scatters so much between channels, E 1/v is that of a few channels near zero.
_UNSTEADY = 0.9


@dataclass(frozen=True)
class Normalization:
    """What batch normalization does to a gradient.

    Attributes:
        inverse: E 1/v over channels; infinite where a few channels near zero decide on it.
        values: K, that a channel has in a batch: two of K directions are projected out.
        drift: Relative variance of v from seed to seed.
        first: Whether it comes before the activation.
        follows: How much the logarithm of v grows with the variance of the signal that is normalized, or whose
            activation is.
    """

    inverse: float
    values: int
    drift: float
    first: bool
    follows: float

    @classmethod
    def of(
        cls, variance: float, scatter: float, values: int, drift: float, *, first: bool, follows: float
    ) -> Normalization:
        """Note a normalization, given how much the variances v of a layer's channels scatter.

        Of a relative variance of s, E 1/v = 1/((1 - s) E v): exactly so for K independent normal values, where s is
        2/(K - 1).

        Args:
            variance: E v.
            scatter: s.
            values: K.
            drift: As the attribute.
            first: As the attribute.
            follows: As the attribute.

        Returns:
            The note.
        """
        inverse = 1 / (variance * (1 - scatter)) if scatter < _UNSTEADY else math.inf
        return cls(inverse, values, drift, first, follows)


@dataclass(frozen=True)
class Preparation:
    """An activation and the normalization beside it.

    Attributes:
        slope: gain² E phi'² of each position.
        drift: Relative variance, from seed to seed, of the share of a gradient that passes.
        together: (E phi')² over E phi'²: what two values that are uncorrelated keep of a covariance of their gradients,
            over what one keeps of its square.
        normalization: None without one.
        steep: E phi'² (phi - E phi)² over E phi'² Var phi: how much farther from their mean those values of phi are
            that pass a gradient on.
        tied: Relative covariance, over channels, of the share of a gradient that passes and the variance of phi.
        uneven: Relative variance of phi'² from value to value.
    """

    slope: Floats
    drift: float
    together: float
    normalization: Normalization | None
    steep: float = 1.0
    tied: float = 0.0
    uneven: float = 1.0


@dataclass(frozen=True)
class Convolution:
    """A convolution, as a gradient meets it.

    Attributes:
        grid: The map of its input.
        kernel: Size of the kernel.
        stride: Of the convolution.
        square: Mean square of a weight.
        channels: Of input and output.
        uneven: Relative variance of the squared length of a filter: 2/fan_in, or 0 where all have one length.
        normalized: Whether a normalizer makes up for the lengths of its filters.
        brought: Variance that it brings to the block's output, if it ends in it.
    """

    grid: Grid
    kernel: int
    stride: int
    square: float
    channels: tuple[int, int]
    uneven: float
    normalized: bool = False
    brought: float = 0.0


@dataclass(frozen=True)
class Gate:
    """Squeeze-and-excite: every channel of every sample is multiplied by s, which hangs on their means over space.

    Attributes:
        square: E s².
        through: What comes back through s, over the gradient's second moment times the number of positions.
    """

    square: float
    through: float


@dataclass(frozen=True)
class Passage:
    """One block, as a gradient meets it.

    Attributes:
        preparations: Of each convolution.
        convolutions: Of the branch.
        shortcut: None for an identity.
        gate: None without one.
        branch_gain: What the branch is multiplied by.
        keep: Share of the samples whose branch is kept.
    """

    preparations: tuple[Preparation, ...]
    convolutions: tuple[Convolution, ...]
    shortcut: Convolution | None
    gate: Gate | None
    branch_gain: float
    keep: float


# A standard normal number and its weights: an even number of nodes, none of which is at a kink in 0.
_NORMAL = np.linspace(-8.0, 8.0, 2000)
_WEIGHTS = np.exp(-(_NORMAL**2) / 2) / np.sum(np.exp(-(_NORMAL**2) / 2))


def _unevenness(activation: Nonlinearity, variance: float) -> float:
    """Return the relative variance of phi'² of a normal number."""
    squares = activation.derivative(math.sqrt(variance) * _NORMAL) ** 2
    mean = float(_WEIGHTS @ squares)
    return float(_WEIGHTS @ squares**2) / mean**2 - 1 if mean > 0 else 0.0


def note_preparation(
    signal: Signal,
    activation: Nonlinearity,
    scale: float,
    channels: int,
    batch: Batch,
    normalization: Normalization | None,
) -> Preparation:
    """Note an activation of a nearly normal signal, and the normalization beside it.

    A channel of mean m over the batch passes another share of a gradient than one of mean 0: E phi'² u/s tells how
    much. Over C channels their average drifts, by the mean correlation of two values of the batch over C; of ReLU,
    exactly by the arc sine of it.

    Args:
        signal: Input of the activation.
        activation: phi.
        scale: Factor behind it.
        channels: C.
        batch: What normalization statistics are taken over.
        normalization: None without one.

    Returns:
        The note.
    """
    slopes, average = activation.slopes(signal.second), signal.grid.mean
    slope, passed = scale**2 * slopes.second, average(slopes.second)
    if not passed > 0:
        return Preparation(slope, 0.0, 0.0, normalization)
    lean = average(slopes.linear) / passed
    squared_mean, variance = squared_mean_and_variance(signal, batch)
    correlation = squared_mean / (squared_mean + variance) if squared_mean > 0 else 0.0
    together, drift = average(slopes.mean**2) / passed, lean**2 * math.asin(correlation) / channels
    plain = Preparation(slope, drift, together, normalization, uneven=_unevenness(activation, average(signal.second)))
    if normalization is None or normalization.first:
        return plain
    at, _ = activation.transform(signal.second, {})
    power = average(at.second - at.mean**2)
    if not power > 0:
        return plain
    apart = average(slopes.with_second - 2 * at.mean * slopes.with_first + at.mean**2 * slopes.second)
    tilt = average(at.squared_linear - 2 * at.mean * at.linear) / power
    steep, one = apart / (passed * power), 1 / normalization.values
    return replace(plain, steep=steep, tied=(steep - 1) * one + lean * tilt * (correlation - one))


def note_gate(signal: Signal, factor: float) -> Gate:
    """Note a squeeze-and-excite gate s = factor * sigmoid(.), whose layers ``steps.squeeze_and_excite`` describes.

    A gradient comes back through what s multiplies, and through s: the sum of g x over space, of variance P G D for P
    positions, goes through sigmoid' and two linear layers with a ReLU between them, which keep half of it, and is
    spread over the P positions that the mean was taken over.

    Args:
        signal: What is multiplied.
        factor: Of the gate.

    Returns:
        The note.
    """
    variance = max(0.0, mean_over_pairs(signal, SAME)) / 2
    square, slope = (factor**2 * value for value in gate_moments(variance))
    return Gate(square, slope / 2 * mean_over_positions(signal, signal.second))


def note_normalization(
    before: Signal,
    batch: Batch,
    variance: float,
    *,
    response: Response | None,
    uneven: float,
    drift: float,
) -> Normalization:
    """Note batch normalization.

    Right behind a convolution, filters are long where v is large; a gradient that is divided by v meets them next,
    which makes good for as much of the scatter of v as comes from their lengths.

    Args:
        before: The nearly normal signal that is normalized, or whose activation is.
        batch: What the statistics are taken over.
        variance: What channels are divided by the root of, in the mean over them.
        response: Of the activation, where it comes first; else None.
        uneven: Relative variance of the squared length of a filter of the convolution right before; 0 behind a sum.
        drift: Relative variance of ``variance`` from seed to seed.

    Returns:
        The note.
    """
    one, values = Batch(batch.samples), batch.samples * before.grid.size
    spread_of_values = (
        scatter_of_variance(before, one)
        if response is None
        else 2 * mean_square_correlation(before, one, around_means=False)
    )
    scatter = spread_of_values + before.scatter.coupling - uneven
    squared_mean, spread = squared_mean_and_variance(before, one)
    follows = 1 / spread if spread > 0 else 0.0
    if response is not None:
        scatter = _behind(response, scatter, squared_mean / (squared_mean + spread), values)
        about = response.about_mean()
        follows *= about.second_slope / about.second if about.second > 0 else 0.0
    return Normalization.of(variance, scatter, values, drift, first=response is None, follows=follows)


def _behind(response: Response, scatter: float, correlation: float, values: int) -> float:
    """Return the relative variance of an activation's channel variance, from the one of its input's.

    (phi - E phi)² is expanded in Hermite polynomials of its input: the first term follows the channel's mean, the
    second its variance, and what is left is different at every value.
    """
    about = response.about_mean()
    power = about.second
    if not power > 0:
        return scatter
    elasticity, tilt = about.second_slope / power, about.tilt / power
    rest = about.fourth / power**2 - 1 - tilt**2 - 2 * elasticity**2
    return elasticity**2 * scatter + tilt**2 * correlation + max(0.0, rest) / values
