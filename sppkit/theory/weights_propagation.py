"""What a network's own weights make of a Gaussian input: mean and variance of every channel at every position.

Every layer maps mean and variance of independent Gaussians to mean and variance of its output. Through one convolution
and one activation this is exact for independent Gaussian inputs; what it leaves out after that is

- correlations between channels (two channels that read the same inputs are not independent given the weights),
- correlations between positions (neighbouring windows overlap),
- that a sum of activations of finitely many channels is not quite Gaussian.

The gap to the measurement is therefore what correlations do. Nothing here is random, and nothing is fitted: the mean
and variance of y = sum of w x over independent x are sum of w E x and sum of w² Var x.

Shapes: a field is (C, H, W); weights are (out, in, kh, kw).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from sppkit.theory.weights_propagation_moments import moments_of_function, moments_of_largest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sppkit.theory.weights_propagation_moments import Floats


class Field(NamedTuple):
    """Mean and variance over samples of independent Gaussians, each of shape (C, H, W)."""

    mean: Floats
    variance: Floats


class Statistics(NamedTuple):
    """The statistics that a batch of a field is expected to show, as means over channels."""

    squared_mean: float
    variance: float


class Layer(Protocol):
    """From the moments of a layer's input to those of its output."""

    def propagate(self, field: Field) -> Field:
        """Return the output's moments."""
        ...


def gaussian_field(shape: tuple[int, int, int]) -> Field:
    """Return the moments of N(0, 1) noise.

    Args:
        shape: (C, H, W).

    Returns:
        Mean 0 and variance 1 everywhere.
    """
    return Field(np.zeros(shape), np.ones(shape))


def propagate(layers: Sequence[Layer], field: Field) -> Field:
    """Send a field through layers in turn.

    Args:
        layers: In execution order.
        field: Moments of the input.

    Returns:
        Moments of the output.
    """
    for layer in layers:
        field = layer.propagate(field)
    return field


def batch_statistics(field: Field, samples: int) -> Statistics:
    """Return what a batch of independent samples of a field shows.

    A channel's mean over n = samples H W independent values has the variance (mean of the variances)/n around the mean
    of their means; that share of the spread is found in the squared mean and missing in the variance.

    Args:
        field: Moments of the signal.
        samples: N.

    Returns:
        E mean_c m_c² and E mean_c v_c, as ``channel_squared_mean`` and ``channel_variance`` define them.
    """
    means = field.mean.mean(axis=(1, 2))
    noise = field.variance.mean(axis=(1, 2)) / (samples * field.mean[0].size)
    squared = means**2 + noise
    second = (field.variance + field.mean**2).mean(axis=(1, 2))
    return Statistics(float(squared.mean()), float((second - squared).mean()))


@dataclass(frozen=True)
class Convolution:
    """A convolution: E y = w * E x + bias, Var y = w² * Var x.

    Attributes:
        weight: As applied, shape (out, in, kh, kw).
        bias: Shape (out,), or None.
        stride: Of both axes.
        padding: Of both axes, on each side.
        circular: Whether the map goes on at its other side; else zeros surround it.
    """

    weight: Floats
    bias: Floats | None = None
    stride: int = 1
    padding: int = 0
    circular: bool = False

    def propagate(self, field: Field) -> Field:
        """Return the output's moments."""
        mean = self._convolve(self.weight, field.mean)
        if self.bias is not None:
            mean = mean + self.bias[:, None, None]
        return Field(mean, self._convolve(self.weight**2, field.variance))

    def _convolve(self, weight: Floats, x: Floats) -> Floats:
        mode = "wrap" if self.circular else "constant"
        edge = (self.padding, self.padding)
        padded = np.pad(x, ((0, 0), edge, edge), mode=mode)  # type: ignore[call-overload]
        height, width = ((padded.shape[axis] - weight.shape[axis + 1]) // self.stride + 1 for axis in (1, 2))
        y = np.zeros((weight.shape[0], height * width))
        # One matrix product per tap: (out, in) times the input under that tap, (in, positions).
        for i, j in np.ndindex(*weight.shape[2:]):
            rows, columns = (slice(k, k + self.stride * n, self.stride) for k, n in ((i, height), (j, width)))
            y += weight[:, :, i, j] @ padded[:, rows, columns].reshape(x.shape[0], -1)
        return y.reshape(-1, height, width)


@dataclass(frozen=True)
class ActivationLayer:
    """``scale * f(x)``, by quadrature.

    Attributes:
        function: f, elementwise.
        scale: Factor after it.
        kinks: Where f or f' jumps.
    """

    function: Callable[[Floats], Floats]
    scale: float = 1.0
    kinks: tuple[float, ...] = ()

    def propagate(self, field: Field) -> Field:
        """Return the output's moments."""
        mean, variance = moments_of_function(self.function, field.mean, field.variance, self.kinks)
        return Field(self.scale * mean, self.scale**2 * variance)


@dataclass(frozen=True)
class BatchNormalizer:
    """Batch normalization, by the batch's statistics in the limit of many samples, or by stored ones.

    Attributes:
        scale: Shape (C,).
        offset: Shape (C,).
        epsilon: Added to the variance.
        stored: Running mean and variance, each of shape (C,), or None for the batch's own.
    """

    scale: Floats
    offset: Floats
    epsilon: float
    stored: tuple[Floats, Floats] | None = None

    def propagate(self, field: Field) -> Field:
        """Return the output's moments."""
        mean, variance = self.stored or _channel_moments(field)
        factor = self.scale / np.sqrt(variance + self.epsilon)
        return Field(
            (field.mean - mean[:, None, None]) * factor[:, None, None] + self.offset[:, None, None],
            field.variance * (factor**2)[:, None, None],
        )


def _channel_moments(field: Field) -> tuple[Floats, Floats]:
    mean = field.mean.mean(axis=(1, 2))
    spread = (field.mean - mean[:, None, None]) ** 2
    return mean, (field.variance + spread).mean(axis=(1, 2))


@dataclass(frozen=True)
class MaxPool:
    """The largest value of each window; what lies outside of the map never is."""

    kernel: int
    stride: int
    padding: int

    def propagate(self, field: Field) -> Field:
        """Return the output's moments."""
        edge = ((0, 0), (self.padding, self.padding), (self.padding, self.padding))
        mean = self._windows(np.pad(field.mean, edge, constant_values=-np.inf))
        variance = self._windows(np.pad(field.variance, edge))
        shape, candidates = mean.shape[:3], self.kernel**2
        found = moments_of_largest(mean.reshape(-1, candidates), variance.reshape(-1, candidates))
        return Field(found[0].reshape(shape), found[1].reshape(shape))

    def _windows(self, x: Floats) -> Floats:
        windows = np.lib.stride_tricks.sliding_window_view(x, (self.kernel, self.kernel), axis=(1, 2))
        return windows[:, :: self.stride, :: self.stride]


@dataclass(frozen=True)
class AveragePool:
    """The mean over all positions: its variance is that of a mean of independent values."""

    def propagate(self, field: Field) -> Field:
        """Return the output's moments, of shape (C, 1, 1)."""
        mean, variance = (x.mean(axis=(1, 2), keepdims=True) for x in field)
        return Field(mean, variance / field.mean[0].size)


@dataclass(frozen=True)
class Gate:
    """Every channel of a sample times a gate that is computed from the sample, as in squeeze-and-excite.

    Gate and channel count as independent: a product has E a E b and E a² E b² - (E a E b)².

    Attributes:
        layers: From the signal to its gates, of shape (C, 1, 1).
        factor: What the gate is multiplied by.
    """

    layers: tuple[Layer, ...]
    factor: float = 1.0

    def propagate(self, field: Field) -> Field:
        """Return the output's moments."""
        gate = propagate(self.layers, field)
        mean, variance = self.factor * gate.mean, self.factor**2 * gate.variance
        return Field(mean * field.mean, (mean**2 + variance) * field.variance + variance * field.mean**2)


@dataclass(frozen=True)
class Drop:
    """Stochastic depth: a sample is kept with a probability, and else zero; what is kept is not rescaled."""

    kept: float

    def propagate(self, field: Field) -> Field:
        """Return the output's moments."""
        mean = self.kept * field.mean
        return Field(mean, self.kept * (field.variance + field.mean**2) - mean**2)


@dataclass(frozen=True)
class Residual:
    """``shortcut(x) + factor * drop(branch(x))``, both after a common preparation.

    Attributes:
        name: What the block is called.
        stage: From 1.
        prepare: What branch and projected shortcut have in common.
        branch: From the prepared input to the end of the branch.
        shortcut: From the prepared input, or None where the shortcut is the input itself.
        behind: Between the branch's end and the addition.
        factor: Scale of the branch.
    """

    name: str
    stage: int
    prepare: tuple[Layer, ...]
    branch: tuple[Layer, ...]
    shortcut: tuple[Layer, ...] | None = None
    behind: tuple[Layer, ...] = ()
    factor: float = 1.0

    def propagate_both(self, field: Field) -> tuple[Field, Field]:
        """Return the moments at the branch's end and at the output.

        Args:
            field: Moments of the block's input.

        Returns:
            Both fields; branch and shortcut count as independent.
        """
        prepared = propagate(self.prepare, field)
        branch = propagate(self.branch, prepared)
        added = propagate(self.behind, branch)
        shortcut = field if self.shortcut is None else propagate(self.shortcut, prepared)
        mean = shortcut.mean + self.factor * added.mean
        return branch, Field(mean, shortcut.variance + self.factor**2 * added.variance)

    def propagate(self, field: Field) -> Field:
        """Return the output's moments."""
        return self.propagate_both(field)[1]


class Place(NamedTuple):
    """One row of a predicted table: the block, the moments at its output and, after the stem, at its branch's end."""

    name: str
    stage: int
    output: Field
    branch: Field | None


def iter_places(stem: Sequence[Layer], blocks: Sequence[Residual], field: Field) -> Iterator[Place]:
    """Send a field through a residual network.

    Args:
        stem: What precedes the first block.
        blocks: In execution order.
        field: Moments of the input.

    Yields:
        The stem's output, then every block's.
    """
    field = propagate(stem, field)
    yield Place("stem", 0, field, None)
    for block in blocks:
        branch, field = block.propagate_both(field)
        yield Place(block.name, block.stage, field, branch)
