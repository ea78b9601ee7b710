"""The recursion over a whole network: from white noise to the three curves."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sppkit.registry import weight_facts
from sppkit.theory.curve import LOST, Curve
from sppkit.theory.grid import REACH, Axis
from sppkit.theory.passage import (
    Convolution,
    Normalization,
    Passage,
    Preparation,
    note_gate,
    note_normalization,
    note_preparation,
)
from sppkit.theory.pool import max_pool
from sppkit.theory.scatter import UNCHANGED
from sppkit.theory.signal import Batch, mean_over_positions, squared_mean_and_variance
from sppkit.theory.spread import add, carry, widen
from sppkit.theory.steps import activate, convolve, drop, filters, normalize, squeeze_and_excite, white_noise
from sppkit.theory.window import positions_seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sppkit.theory.activation import Nonlinearity
    from sppkit.theory.arrays import Floats
    from sppkit.theory.scatter import Response
    from sppkit.theory.signal import Signal


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
    activation: Nonlinearity
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


# Fourth powers of a signal must stay within the floats (1e308); measured in float32, it is lost long before.
_LARGEST = 1e70


class Expected(NamedTuple):
    """What is expected at one block.

    Attributes:
        squared_mean: Channel squared mean of the output.
        variance: Channel variance of the output.
        residual_variance: Channel variance at the end of the branch; None for the stem.
        height: Rows of the map.
        width: Columns of the map.
        passage: The block as a gradient meets it; None for the stem, and where the signal is lost.
    """

    squared_mean: Curve
    variance: Curve
    residual_variance: Curve | None
    height: int
    width: int
    passage: Passage | None = None


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
    stem, _ = _convolve(network, image, channels, network.stem_kernel, network.stem_stride, batch)
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
            yield Expected(LOST, LOST, LOST, grid.rows.size, grid.columns.size)
            continue
        pooled = stem if index == 0 and network.stem_pool else None
        signal, branch, passage = _follow(network, block, signal, batch, pooled)
        expected = _expect(signal, branch, batch, block.channels[-1], resets=network.resets)
        yield expected._replace(passage=passage)


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
) -> tuple[Signal, Signal, Passage]:
    # The drift so far is what both ways carry on or forget.
    start = replace(signal, scatter=replace(signal.scatter, carried=1.0, drift=0.0))
    prepare, channels, before = functools.partial(_prepare, network, batch=batch), block.channels, signal.scatter.drift
    if pooled is None:
        first, noted = prepare(start, block.scales[0], channels[0], drift=before)
    else:
        first, noted = _prepare_pooled(network, block, pooled, start, batch)
    branch, strided = first, block.kernels.index(3)
    preparations, convolutions = [noted], list[Convolution]()
    for index, (kernel, scale) in enumerate(zip(block.kernels, block.scales, strict=True)):
        if index:
            branch, noted = prepare(branch, scale, channels[index], uneven=convolutions[-1].uneven)
            preparations.append(noted)
        stride = block.stride if index == strided else 1
        branch, passed = _convolve(network, branch, channels[index : index + 2], kernel, stride, batch)
        convolutions.append(passed)
    shortcut, across, gate = start, None, None
    if block.projects:
        shortcut, across = _convolve(network, first, (channels[0], channels[-1]), 1, block.stride, batch)
    if network.gate is not None:
        gate = note_gate(branch, network.gate)
        branch = squeeze_and_excite(branch, network.gate)
    added = drop(branch, block.keep).scaled(block.branch_gain)
    last = replace(convolutions[-1], normalized=False, brought=squared_mean_and_variance(added, batch)[1])
    if across is not None:
        across = replace(across, normalized=False, brought=squared_mean_and_variance(shortcut, batch)[1])
    total = add(shortcut, added, batch, channels[-1], before, resets=network.resets)
    passage = Passage(tuple(preparations), (*convolutions[:-1], last), across, gate, block.branch_gain, block.keep)
    return total, carry(branch, before), passage


def _convolve(
    network: Network, signal: Signal, channels: tuple[int, ...], kernel: int, stride: int, batch: Batch
) -> tuple[Signal, Convolution]:
    weights = filters(network.weights, c=network.c, fan_in=channels[0] * kernel**2)
    output = convolve(signal, weights, kernel=kernel, stride=stride)
    centred_inputs = channels[0] if weights.centred else None
    uneven = 0.0 if weights.excess else 2 / weights.fan_in
    square = weights.scale / weights.fan_in
    noted = Convolution(
        signal.grid, kernel, stride, square, (channels[0], channels[1]), uneven, normalized=network.normalizes
    )
    return widen(output, batch, channels[1], centred_inputs=centred_inputs, resets=network.resets), noted


def _prepare(
    network: Network,
    signal: Signal,
    scale: float,
    channels: int,
    *,
    batch: Batch,
    uneven: float = 0.0,
    drift: float = 0.0,
) -> tuple[Signal, Preparation]:
    """Prepare a signal, behind filters of uneven length or a sum whose variance drifts."""  # noqa: DOC201
    note = functools.partial(note_normalization, signal, batch, uneven=uneven, drift=drift)
    norm, given = None, signal
    if network.normalizes and network.norm_first:
        norm = note(_divisor(network, signal, batch), response=None)
        given = normalize(signal, batch, network.epsilon)
    signal = activate(given, network.activation, scale)
    if network.normalizes and not network.norm_first:
        norm = note(_divisor(network, signal, batch), response=signal.response)
        signal = normalize(signal, batch, network.epsilon)
    return signal, note_preparation(given, network.activation, scale, channels, Batch(batch.samples), norm)


def _divisor(network: Network, signal: Signal, batch: Batch) -> float:
    return squared_mean_and_variance(signal, Batch(batch.samples))[1] + network.epsilon


def _prepare_pooled(
    network: Network, block: Block, stem: Signal, pooled: Signal, batch: Batch
) -> tuple[Signal, Preparation]:
    """Prepare the max-pool's output, which is not normal."""  # noqa: DOC201
    shift, scale, norm = 0.0, 1.0, None
    if network.normalizes and network.norm_first:
        shift = mean_over_positions(pooled, pooled.mean)
        scale = 1 / np.sqrt(squared_mean_and_variance(pooled, batch)[1] + network.epsilon)

    def function(x: Floats) -> Floats:
        return block.scales[0] * network.activation((x - shift) * scale)

    def slope(x: Floats) -> Floats:
        return block.scales[0] * network.activation.derivative((x - shift) * scale)

    squares, fourths = (max_pool(stem, phi).second for phi in (slope, lambda x: slope(x) ** 2))
    passed = pooled.grid.mean(squares)
    share = pooled.grid.mean(fourths) / passed**2 - 1 if passed > 0 else 0.0
    response = _respond_to_pool(stem, function)
    signal, divisor, uneven = replace(max_pool(stem, function), response=response), scale**-2, 1.0
    if network.normalizes and not network.norm_first:
        divisor, about = _divisor(network, signal, batch), response.about_mean()
        signal, uneven = normalize(signal, batch, network.epsilon), (about.second_slope / about.second) ** 2
    if network.normalizes:
        # All candidates of a channel have one filter: its length is what the channel's variance hangs on.
        scatter, values = uneven * stem.scatter.coupling, batch.samples * pooled.grid.size
        norm = Normalization.of(divisor, scatter, values, stem.scatter.drift, first=network.norm_first, follows=0.0)
    return signal, Preparation(squares, 0.0, 1.0, norm, uneven=max(0.0, share))


# Relative step in the variance of what the max-pool reads.
_STEP = 0.05


def _respond_to_pool(stem: Signal, function: Callable[[Floats], Floats]) -> Response:
    """Describe what follows the max-pool: the convolution behind it asks for the tails, a normalizer for the slope."""  # noqa: DOC201

    def moments(function: Callable[[Floats], Floats]) -> tuple[float, float]:
        pooled = max_pool(stem, function)
        return pooled.grid.mean(pooled.mean), pooled.grid.mean(pooled.second)

    m, second = moments(function)
    third, (_, fourth) = moments(lambda x: function(x) ** 3)[0], moments(lambda x: function(x) ** 2)
    less, more = (moments(functools.partial(_scaled, function, math.sqrt(s))) for s in (1 - _STEP, 1 + _STEP))
    return replace(
        UNCHANGED,
        second=second,
        square=m * m,
        linear=second - m * m,
        second_slope=(more[1] - less[1]) / (2 * _STEP),
        square_slope=(more[0] ** 2 - less[0] ** 2) / (2 * _STEP),
        fourth=fourth,
        central_fourth=fourth - 4 * m * third + 6 * m * m * second - 3 * m**4,
    )


def _scaled(function: Callable[[Floats], Floats], factor: float, x: Floats) -> Floats:
    return function(factor * x)
