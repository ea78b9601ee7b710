"""Count, mean and squared deviations of every channel: what all statistics of a signal plot are made of.

Letters: n values per channel, mean their mean, m2 the sum of squared deviations from it, so variance = m2 / n (the
population variance: dividing by n). The channel axis is 1; all other axes are reduced.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sppkit.stats.statistic import Reduction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# The fast path takes var = E x² - mean², which multiplies the rounding error of E x² by E x² / var. A float32 sum over
# a row of at most MAX_ROW values, in 8 or more lanes, adds 16 terms per lane: rounded half an ulp (6e-8) each, always
# in the same direction in the worst case, that is 5e-7 of the sum, and 1e-7 more for the square of a rounded root. Up
# to this amplification the variance is then good to 1e-5 in the worst case and to 1e-6 as a rule; channels beyond it
# are redone in float64. A BN-ReLU-Conv network (mean² = 0.47 var on average) has one such channel in a million.
MAX_AMPLIFICATION = 12.0
MAX_ROW = 128
MIN_ROW = 32
# Below this second moment the squares of float32 values lose digits to underflow (2^-126 / 2^-23 is about 2^-103).
MIN_SECOND_MOMENT = 2.0**-100
# float64 copies are made of at most this many values at a time: 32 MiB.
_CHUNK = 2**22
# Values that are not finite, where the sums have shown that there are none.
_NONE = torch.zeros((), dtype=torch.int64, device="cpu")


@dataclass(frozen=True)
class ChannelMoments:
    """Moments of every channel of the signal seen so far.

    Attributes:
        count: Values per channel, n.
        mean: Shape (C,), float64.
        m2: Sum of squared deviations from the mean, shape (C,), float64.
        nonfinite: Number of values that are nan or infinite, over all channels; shape ().
    """

    count: int
    mean: Tensor
    m2: Tensor
    nonfinite: Tensor

    @property
    def variance(self) -> Tensor:
        """The population variance m2 / n, shape (C,)."""
        return self.m2 / self.count


def channel_moments(x: Tensor) -> ChannelMoments:
    """Reduce a signal to the moments of its channels.

    On the CPU, float32 rows are summed once in float32; channels for which that is not enough (a mean far larger than
    the standard deviation, overflow, underflow, nan) are redone in float64. Elsewhere everything is reduced in
    float64, without waiting for the device; where that type does not exist (MPS), in float32 per row, merged in
    float64 on the CPU.

    Args:
        x: Shape (N, C, *space), any floating type.

    Returns:
        The moments, on the signal's device (for MPS: on the CPU).
    """
    device = x.device.type
    x = x.detach().reshape(x.shape[0], x.shape[1], -1)
    if torch.is_autocast_enabled(device):
        # There, sums could be taken in half precision.
        with torch.autocast(device, enabled=False):
            return _moments_on(device, x)
    return _moments_on(device, x)


def _moments_on(device: str, x: Tensor) -> ChannelMoments:
    if device == "mps":
        return _row_moments(x.float())
    if device == "cpu" and x.dtype != torch.float64:
        return _fast_moments(x.float().contiguous())
    return _exact_moments(x)


def merge_moments(a: ChannelMoments, b: ChannelMoments) -> ChannelMoments:
    """Return the moments of the union of two sets of values, exactly.

    Chan, Golub & LeVeque 1979: with d = mean_b - mean_a, mean = mean_a + d n_b / n and
    m2 = m2_a + m2_b + d² n_a n_b / n.

    Args:
        a: Moments of the first set.
        b: Moments of the second set, same number of channels.

    Returns:
        Moments of both.
    """
    count = a.count + b.count
    delta = b.mean - a.mean
    mean = a.mean + delta * (b.count / count)
    m2 = a.m2 + b.m2 + delta**2 * (a.count * b.count / count)
    return ChannelMoments(count, mean, m2, a.nonfinite + b.nonfinite)


MOMENTS = Reduction(channel_moments, merge_moments)


def _exact_moments(x: Tensor) -> ChannelMoments:
    """Reduce (N, C, L) in float64, a few channels at a time."""  # noqa: DOC201 - said by channel_moments
    samples, channels, length = x.shape
    step = max(1, _CHUNK // (samples * length))
    parts = [_moments_of(x[:, first : first + step].double()) for first in range(0, channels, step)]
    variance, mean, nonfinite = (torch.cat(column) for column in zip(*parts, strict=True))
    count = samples * length
    return ChannelMoments(count, mean, variance * count, nonfinite.sum())


def _moments_of(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    variance, mean = torch.var_mean(x, dim=(0, 2), correction=0)
    return variance, mean, (~torch.isfinite(x)).sum().view(1)


def _fast_moments(x: Tensor) -> ChannelMoments:
    """Reduce float32 (N, C, L) from row sums, then redo the channels that they are not good enough for."""  # noqa: DOC201
    # What is not finite or overflows is found in the sums below, and needs no warning from NumPy.
    with np.errstate(invalid="ignore", over="ignore"):
        return _checked_moments(x, x.shape[0] * x.shape[2], *_sums(x))


def _checked_moments(x: Tensor, count: int, total: Floats, squares: Floats) -> ChannelMoments:
    # E x² <= MAX_AMPLIFICATION * var, in terms of the sums; false for nan, and for inf by the limit on squares.
    good = total * total <= squares * (count * (1 - 1 / MAX_AMPLIFICATION))
    if good.all() and squares.min() >= MIN_SECOND_MOMENT * count and squares.max() < math.inf:
        return _from_sums(count, total, squares)
    good &= (squares >= MIN_SECOND_MOMENT * count) & (squares < math.inf)
    return _redo(_from_sums(count, total, squares), x, torch.from_numpy(np.flatnonzero(~good)))


def _from_sums(count: int, total: Floats, squares: Floats) -> ChannelMoments:
    mean = total / count
    return ChannelMoments(count, torch.from_numpy(mean), torch.from_numpy(squares - total * mean), _NONE)


def _sums(x: Tensor) -> tuple[Floats, Floats]:
    # The sum of every channel of (N, C, L) and the sum of its squares, each of shape (C,).
    if x.shape[2] < MIN_ROW:
        return _sum_samples(x), _sum_samples(x * x)
    first, *rest = [_sum_rows(rows) for rows in _cut_rows(x)]
    return (first[0] + rest[0][0], first[1] + rest[0][1]) if rest else first


def _sum_samples(x: Tensor) -> Floats:
    # Over the samples first, where rows are too short to be worth summing; torch sums pairwise along this axis.
    return x.sum(0).numpy().astype(np.float64) @ np.ones(x.shape[2])


def _sum_rows(rows: Tensor) -> tuple[Floats, Floats]:
    # (N, C, rows, length) to (C,): float32 within a row, float64 from then on; samples first, along memory. On arrays
    # this small NumPy's calls cost a third of torch's, and between two blocks of a network every call is a cold one.
    totals = torch.sum(rows, 3).numpy()
    roots = torch.linalg.vector_norm(rows, dim=3).numpy()
    ones = np.ones(rows.shape[2])
    squares = np.square(roots, dtype=np.float64)
    return np.add.reduce(totals, 0, np.float64) @ ones, np.add.reduce(squares, 0) @ ones


def _cut_rows(x: Tensor) -> list[Tensor]:
    # Views of shape (N, C, rows, at most MAX_ROW) of (N, C, L).
    samples, channels, length = x.shape
    row = _row_length(length)
    whole = length - length % row
    if whole == length:
        return [x.view(samples, channels, -1, row)]
    return [x[:, :, :whole].view(samples, channels, -1, row), x[:, :, whole:].unsqueeze(2)]


@functools.cache
def _row_length(length: int) -> int:
    # A divisor leaves no rest, which would cost two more passes; a row of few values costs more than its sum.
    divisors = [row for row in range(MIN_ROW, MAX_ROW + 1) if length % row == 0]
    return max(divisors, default=min(length, MAX_ROW))


def _redo(moments: ChannelMoments, x: Tensor, channels: Tensor) -> ChannelMoments:
    exact = _exact_moments(x[:, channels])
    mean = moments.mean.index_copy(0, channels, exact.mean)
    m2 = moments.m2.index_copy(0, channels, exact.m2)
    return ChannelMoments(moments.count, mean, m2, exact.nonfinite)


def _row_moments(x: Tensor) -> ChannelMoments:
    """Reduce float32 (N, C, L) per sample on its device and merge the samples in float64 on the CPU."""  # noqa: DOC201
    variance, mean = (part.cpu().double() for part in torch.var_mean(x, dim=2, correction=0))
    nonfinite = (~torch.isfinite(x)).sum().cpu()
    count = x.shape[0] * x.shape[2]
    # Law of total variance over the samples.
    m2 = (variance.sum(0) + (mean - mean.mean(0)).square().sum(0)) * x.shape[2]
    return ChannelMoments(count, mean.mean(0), m2, nonfinite)
