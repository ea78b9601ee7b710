"""The recursion over a whole network: from white noise to the three curves."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sppkit.registry import weight_facts
from sppkit.theory.grid import REACH, Axis
from sppkit.theory.pool import max_pool
from sppkit.theory.signal import mean_over_positions, squared_mean_and_variance
from sppkit.theory.spread import add, carry, widen
from sppkit.theory.steps import activate, convolve, drop, filters, normalize, squeeze_and_excite, white_noise
from sppkit.theory.window import positions_seen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sppkit.theory.activation import Activation
    from sppkit.theory.arrays import Floats
    from sppkit.theory.signal import Batch, Signal


@dataclass(frozen=True, kw_only=True)
class Block:
    """One pre-activation block.

    Attributes:
        channels: Before, between and after the convolutions.
        kernels: Sizes of the convolutions.
        stride: On the first 3x3 convolution and the shortcut.
        projects: Whether the shortcut is a convolution, of the prepared input.
        scales: Factor after each activation.
        branch_gain: What the branch is multiplied by before it is added.
        keep: Share of the samples whose branch is kept.
    """

    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    stride: int
    projects: bool
    scales: tuple[float, ...]
    branch_gain: float
    keep: float


@dataclass(frozen=True, kw_only=True)
class Network:
    """What the recursion needs of a network.

    Attributes:
        blocks: In execution order.
        stem_kernel: Size of the stem's convolution.
        stem_stride: Of the stem's convolution.
        stem_pool: Whether a 3x3 max-pool with stride 2 follows it.
        input_channels: Of the image.
        stem_channels: Behind the stem.
        activation: phi.
        normalizes: Whether every activation has a batch normalization beside it.
        norm_first: Whether that comes before the activation.
        epsilon: Of the normalization.
        weights: Weight parametrization.
        c: Weight variance times fan_in.
        circular: Whether convolutions go on at the other end of the map.
        gate: Factor after the squeeze-and-excite gate, or None without one.
    """

    blocks: Sequence[Block]
    stem_kernel: int
    stem_stride: int
    stem_pool: bool
    input_channels: int
    stem_channels: int
    activation: Activation
    normalizes: bool
    norm_first: bool
    epsilon: float
    weights: str
    c: float
    circular: bool
    gate: float | None

    @property
    def resets(self) -> bool:
        """Whether a normalizer or centred filters take the channels' means away."""
        return self.normalizes or weight_facts(self.weights).centred is True


class Curve(NamedTuple):
    """What is expected of one statistic.

    Attributes:
        value: Over many seeds.
        spread: Standard deviation from seed to seed.
    """

    value: float
    spread: float


# Fourth powers of a signal must stay within the floats (1e308); measured in float32, it is lost long before.
_LARGEST = 1e70
_LOST = Curve(math.nan, math.nan)


class Expected(NamedTuple):
    """What is expected at one block.

    Attributes:
        squared_mean: Channel squared mean of the output.
        variance: Channel variance of the output.
        residual_variance: Channel variance at the end of the branch; None for the stem.
        height: Rows of the map.
        width: Columns of the map.
    """

    squared_mean: Curve
    variance: Curve
    residual_variance: Curve | None
    height: int
    width: int


def iter_expected(network: Network, height: int, width: int, batch: Batch, *, reach: int = REACH) -> Iterator[Expected]:
    """Follow white noise through a network.

    Args:
        network: The network.
        height: Rows of the image.
        width: Columns of the image.
        batch: What the statistics are taken over.
        reach: Rows from the border that are told apart.

    Yields:
        The stem, then every block.
    """
    image = white_noise(Axis(height, network.circular, reach), Axis(width, network.circular, reach))
    channels = network.input_channels, network.stem_channels
    stem = _convolve(network, image, channels, network.stem_kernel, network.stem_stride, batch)
    signal = max_pool(stem, lambda x: x) if network.stem_pool else stem
    yield (
        _expect_stem(signal, stem, batch)
        if network.stem_pool
        else _expect(signal, None, batch, channels[1], resets=network.resets)
    )
    for index, block in enumerate(network.blocks):
        if not mean_over_positions(signal, signal.second) < _LARGEST:
            grid, _ = positions_seen(signal.grid, 1, block.stride)
            signal = white_noise(grid.rows, grid.columns).scaled(math.inf)
            yield Expected(_LOST, _LOST, _LOST, grid.rows.size, grid.columns.size)
            continue
        pooled = stem if index == 0 and network.stem_pool else None
        signal, branch = _follow(network, block, signal, batch, pooled)
        yield _expect(signal, branch, batch, block.channels[-1], resets=network.resets)


def _expect_stem(pooled: Signal, stem: Signal, batch: Batch) -> Expected:
    """Return what is expected after the max-pool.

    A channel's mean is nearly the same for all, and scales with its filter as its variance does: both drift as the
    variance of the convolution before the pool.

    Args:
        pooled: The max-pool's output.
        stem: Its input.
        batch: What the statistics are taken over.

    Returns:
        The stem's row.
    """
    squared_mean, variance = squared_mean_and_variance(pooled, batch)
    drift = math.sqrt(stem.scatter.drift)
    curves = Curve(squared_mean, squared_mean * drift), Curve(variance, variance * drift)
    return Expected(*curves, None, pooled.grid.rows.size, pooled.grid.columns.size)


def _expect(signal: Signal, branch: Signal | None, batch: Batch, channels: int, *, resets: bool) -> Expected:
    squared_mean, variance = _judge(signal, batch, channels, resets=resets)
    residual = None if branch is None else _judge(branch, batch, channels, resets=resets)[1]
    return Expected(squared_mean, variance, residual, signal.grid.rows.size, signal.grid.columns.size)


def _judge(signal: Signal, batch: Batch, channels: int, *, resets: bool) -> tuple[Curve, Curve]:
    """Return squared mean and variance, each with its spread.

    Of C channels, the means are normal numbers of one variance, whose average square has a relative variance of 2/C.

    Args:
        signal: A block's output, or the end of its branch.
        batch: What the statistics are taken over.
        channels: C.
        resets: Whether the means are taken away; else they drift with the variance, too.

    Returns:
        Both curves.
    """
    squared_mean, variance = squared_mean_and_variance(signal, batch)
    drift = signal.scatter.drift
    of_mean = math.sqrt(2 / channels + signal.scatter.mean_drift + (0.0 if resets else drift))
    return Curve(squared_mean, squared_mean * of_mean), Curve(variance, variance * math.sqrt(drift))


def _follow(
    network: Network, block: Block, signal: Signal, batch: Batch, pooled: Signal | None
) -> tuple[Signal, Signal]:
    # The drift so far is what both ways carry on or forget.
    start = replace(signal, scatter=replace(signal.scatter, carried=1.0, drift=0.0))
    prepare = functools.partial(_prepare, network, batch=batch)
    first = prepare(start, block.scales[0]) if pooled is None else _prepare_pooled(network, block, pooled, start, batch)
    branch, strided = first, block.kernels.index(3)
    for index, (kernel, scale) in enumerate(zip(block.kernels, block.scales, strict=True)):
        given = first if index == 0 else prepare(branch, scale)
        stride = block.stride if index == strided else 1
        branch = _convolve(network, given, block.channels[index : index + 2], kernel, stride, batch)
    shortcut = start
    if block.projects:
        shortcut = _convolve(network, first, (block.channels[0], block.channels[-1]), 1, block.stride, batch)
    if network.gate is not None:
        branch = squeeze_and_excite(branch, network.gate)
    added = drop(branch, block.keep).scaled(block.branch_gain)
    before = signal.scatter.drift
    total = add(shortcut, added, batch, block.channels[-1], before, resets=network.resets)
    return total, carry(branch, before)


def _convolve(
    network: Network, signal: Signal, channels: tuple[int, ...], kernel: int, stride: int, batch: Batch
) -> Signal:
    weights = filters(network.weights, c=network.c, fan_in=channels[0] * kernel**2)
    output = convolve(signal, weights, kernel=kernel, stride=stride)
    return widen(
        output, batch, channels[1], centred_inputs=channels[0] if weights.centred else None, resets=network.resets
    )


def _prepare(network: Network, signal: Signal, scale: float, batch: Batch) -> Signal:
    if network.normalizes and network.norm_first:
        signal = normalize(signal, batch, network.epsilon)
    signal = activate(signal, network.activation, scale)
    if network.normalizes and not network.norm_first:
        signal = normalize(signal, batch, network.epsilon)
    return signal


def _prepare_pooled(network: Network, block: Block, stem: Signal, pooled: Signal, batch: Batch) -> Signal:
    """Prepare the max-pool's output, which is not normal."""  # noqa: DOC201
    shift, scale = 0.0, 1.0
    if network.normalizes and network.norm_first:
        shift = mean_over_positions(pooled, pooled.mean)
        scale = 1 / np.sqrt(squared_mean_and_variance(pooled, batch)[1] + network.epsilon)

    def function(x: Floats) -> Floats:
        return block.scales[0] * network.activation((x - shift) * scale)

    signal = max_pool(stem, function)
    return normalize(signal, batch, network.epsilon) if network.normalizes and not network.norm_first else signal
