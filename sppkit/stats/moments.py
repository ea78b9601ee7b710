"""Count, mean and squared deviations of every channel: what all statistics of a signal plot are made of.

Letters: n values per channel, mean their mean, m2 the sum of squared deviations from it, so variance = m2 / n (the
population variance: dividing by n). The channel axis is 1; all other axes are reduced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sppkit.stats.channel_moments import ChannelMoments
from sppkit.stats.cpu_moments import cpu_moments
from sppkit.stats.cuda_moments import cuda_moments
from sppkit.stats.statistic import Reduction

if TYPE_CHECKING:
    from collections.abc import Sequence

# float64 copies are made of at most this many values at a time: 32 MiB.
_CHUNK = 2**22


def channel_moments(x: Tensor) -> ChannelMoments:
    """Reduce a signal to the moments of its channels.

    On the CPU, float32 rows are summed once in float32; channels for which that is not enough (a mean far larger than
    the standard deviation, overflow, underflow, nan) are redone in float64. On CUDA devices a kernel does both, in one
    pass and without waiting (``cuda_moments``); where there is none for a type, everything is reduced in float64. Where
    that type does not exist (MPS), it is float32 per row, merged in float64 on the CPU.

    Args:
        x: Shape (N, C, *space), any floating type.

    Returns:
        The moments, on the signal's device (for MPS: on the CPU).
    """
    if x.is_cpu and x.dtype is not torch.float64:
        return cpu_moments(x)
    device = x.device.type
    x = x.detach()
    if torch.is_autocast_enabled(device):
        # There, sums could be taken in half precision.
        with torch.autocast(device, enabled=False):
            return _moments_on(device, x)
    return _moments_on(device, x)


def _moments_on(device: str, x: Tensor) -> ChannelMoments:
    count = x.numel() // x.shape[1]
    x = x.reshape(x.shape[0], x.shape[1], -1)
    if device == "mps":
        return _row_moments(x.float())
    if device == "cuda" and (found := cuda_moments(x)) is not None:
        return ChannelMoments(count, *found)
    mean, m2, nonfinite = _exact_moments(x)
    return ChannelMoments(count, mean, m2, int(nonfinite.sum()) if device == "cpu" else nonfinite)


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


def bring_to_host(moments: Sequence[ChannelMoments]) -> list[ChannelMoments]:
    """Return the moments of several signals on the CPU, waiting for their device once.

    Args:
        moments: All of them on one device.

    Returns:
        The same, with the values that are not finite counted over all channels.
    """
    if not moments:
        return []
    counts = [torch.as_tensor(found.nonfinite, device=found.mean.device).view(-1) for found in moments]
    numbers = torch.cat([part for found in moments for part in (found.mean, found.m2)])
    sizes = [size for found in moments for size in (len(found.mean), len(found.m2))] + [len(count) for count in counts]
    parts = torch.split(torch.cat((numbers, torch.cat(counts).double())).cpu(), sizes)
    means, m2s, lost = parts[: 2 * len(moments) : 2], parts[1 : 2 * len(moments) : 2], parts[2 * len(moments) :]
    return [
        ChannelMoments(found.count, mean, m2, int(bad.sum()))
        for found, mean, m2, bad in zip(moments, means, m2s, lost, strict=True)
    ]


MOMENTS = Reduction(channel_moments, merge_moments)


def _exact_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # Of (N, C, L), in float64, a few channels at a time: mean, m2 and what is not finite, each of shape (C,).
    samples, channels, length = x.shape
    step = max(1, _CHUNK // (samples * length))
    parts = [_moments_of(x[:, first : first + step].double()) for first in range(0, channels, step)]
    mean, variance, nonfinite = (torch.cat(column) for column in zip(*parts, strict=True))
    return mean, variance * (samples * length), nonfinite


def _moments_of(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    variance, mean = torch.var_mean(x, dim=(0, 2), correction=0)
    return mean, variance, (~torch.isfinite(x)).sum((0, 2))


def _row_moments(x: Tensor) -> ChannelMoments:
    """Reduce float32 (N, C, L) per sample on its device and merge the samples in float64 on the CPU."""  # noqa: DOC201
    variance, mean = (part.cpu().double() for part in torch.var_mean(x, dim=2, correction=0))
    nonfinite = int((~torch.isfinite(x)).sum())
    count = x.shape[0] * x.shape[2]
    # Law of total variance over the samples.
    m2 = (variance.sum(0) + (mean - mean.mean(0)).square().sum(0)) * x.shape[2]
    return ChannelMoments(count, mean.mean(0), m2, nonfinite)
