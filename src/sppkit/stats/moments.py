"""Count, mean and squared deviations of every channel: what all statistics of a signal plot are made of.

Letters: n values per channel, mean their mean, m2 the sum of squared deviations from it, so variance = m2 / n (the
population variance: dividing by n). The channel axis is 1; all other axes are reduced.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sppkit.stats.cpu_moments import cpu_moments
from sppkit.stats.statistic import Reduction

# float64 copies are made of at most this many values at a time: 32 MiB.
_CHUNK = 2**22


@dataclass(frozen=True)
class ChannelMoments:
    """Moments of every channel of the signal seen so far.

    Attributes:
        count: Values per channel, n.
        mean: Shape (C,), float64.
        m2: Sum of squared deviations from the mean, shape (C,), float64.
        nonfinite: Number of values that are nan or infinite, over all channels; of shape () where it is on a device.
    """

    count: int
    mean: Tensor
    m2: Tensor
    nonfinite: Tensor | int

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
    x = x.detach()
    if torch.is_autocast_enabled(device):
        # There, sums could be taken in half precision.
        with torch.autocast(device, enabled=False):
            return _moments_on(device, x)
    return _moments_on(device, x)


def _moments_on(device: str, x: Tensor) -> ChannelMoments:
    if device == "cpu" and x.dtype != torch.float64:
        (mean, m2), nonfinite = cpu_moments(x.float().contiguous())
        return ChannelMoments(x.numel() // x.shape[1], torch.from_numpy(mean), torch.from_numpy(m2), nonfinite)
    x = x.reshape(x.shape[0], x.shape[1], -1)
    return _row_moments(x.float()) if device == "mps" else _exact_moments(x)


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


def _row_moments(x: Tensor) -> ChannelMoments:
    """Reduce float32 (N, C, L) per sample on its device and merge the samples in float64 on the CPU."""  # noqa: DOC201
    variance, mean = (part.cpu().double() for part in torch.var_mean(x, dim=2, correction=0))
    nonfinite = (~torch.isfinite(x)).sum().cpu()
    count = x.shape[0] * x.shape[2]
    # Law of total variance over the samples.
    m2 = (variance.sum(0) + (mean - mean.mean(0)).square().sum(0)) * x.shape[2]
    return ChannelMoments(count, mean.mean(0), m2, nonfinite)
