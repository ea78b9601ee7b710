"""Two forms of the same samples: how far one is from the other, in units of how far samples are from each other.

Letters: x a signal of N samples and C channels, y the same of the shifted samples; m_nc and s_nc mean and standard
deviation of channel c of sample n over space, with a prime for y; v_c the variance of channel c over samples and space.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import torch

from sppkit.stats.doubles import double
from sppkit.stats.instance_style_share import InstanceMoments, instance_style_share, merge_instances

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

# float64 copies are made of at most this many values at a time.
_CHUNK = 2**22
# A deviation below the root of this share of a map's mean square (0.3 %) counts as that much: a map that is constant
# has no logarithm.
_FLOOR = 1e-5
# Of the variance, the share between samples that is only the rounding of float32 numbers: behind instance normalization
# it is 1e-14, and 1e-3 where a block has mixed positions since. Types with fewer digits round by more.
NO_STYLE = 1e-8


@dataclass(frozen=True)
class Spread:
    """Sums of squared distances, over batches: between the two forms of a sample, and from the mean of a batch.

    Attributes:
        samples: Number of samples.
        freedom: The same, less one for each batch.
        distance: Sum of ‖y - x‖², shape ().
        clean: Sum of ‖x - mean x‖², shape ().
        shifted: Sum of ‖y - mean y‖², shape ().
        together: Sum of the inner products of x - mean x and y - mean y, shape ().
    """

    samples: int
    freedom: int
    distance: Tensor
    clean: Tensor
    shifted: Tensor
    together: Tensor


@dataclass(frozen=True)
class PairMoments:
    """What is kept of a signal and of its shifted form.

    Attributes:
        clean: Moments of x.
        shifted: Moments of y.
        means: Sum over samples of (m' - m)², shape (C,).
        deviations: Sum over samples of (log s' - log s)², shape (C,); None where there is one position.
        maps: Spread of the whole signals.
        pooled: Spread of the means over space.
        nonfinite: Number of values of both that are nan or infinite.
        rounding: By how much of itself a value of the signal's type is rounded.
    """

    clean: InstanceMoments
    shifted: InstanceMoments
    means: Tensor
    deviations: Tensor | None
    maps: Spread
    pooled: Spread
    nonfinite: int
    rounding: float


def pair_moments(x: Tensor, y: Tensor) -> PairMoments:
    """Reduce a signal and its shifted form, a few channels at a time.

    Args:
        x: Shape (N, C, *space), any floating type.
        y: The same shape.

    Returns:
        What is kept of both.
    """
    rounding = torch.finfo(x.dtype).eps
    return reduce(_beside, (_moments_of(a, b, rounding) for a, b in _iter_channels(x, y)))


def merge_pairs(a: PairMoments, b: PairMoments) -> PairMoments:
    """Return what would have been kept of the batches of both, exactly.

    Args:
        a: Of the first batches.
        b: Of the others, same number of channels.

    Returns:
        Of all of them.
    """
    deviations = None if a.deviations is None or b.deviations is None else a.deviations + b.deviations
    return PairMoments(
        merge_instances(a.clean, b.clean),
        merge_instances(a.shifted, b.shifted),
        a.means + b.means,
        deviations,
        _merge_spreads(a.maps, b.maps),
        _merge_spreads(a.pooled, b.pooled),
        a.nonfinite + b.nonfinite,
        max(a.rounding, b.rounding),
    )


def style_shift(moments: PairMoments) -> Tensor:
    """Return the mean over channels of E_n (m'_nc - m_nc)² / v_c.

    Args:
        moments: Of a signal and its shifted form. Channels that are constant on the clean samples are left out.

    Returns:
        Shape (); nan if all channels are constant.
    """
    variance = _variance(moments.clean)
    alive = ~(variance == 0)
    return (moments.means[alive] / moments.maps.samples / variance[alive]).mean()


def deviation_shift(moments: PairMoments) -> Tensor | None:
    """Return the mean over channels and samples of (log s'_nc - log s_nc)², natural logarithms.

    Args:
        moments: Of a signal and its shifted form. A deviation below 0.3 % of the root mean square of its map counts as
            that much.

    Returns:
        Shape (); None where maps have one position.
    """
    return None if moments.deviations is None else moments.deviations.mean() / moments.maps.samples


def signal_kept(spread: Spread) -> Tensor:
    """Return 1 - E‖y - x‖² / E‖x - x'‖², x' another sample.

    1 is a signal that ignores the shift, 0 one that is as different as another sample's; below, it is farther away than
    that. E‖x - x'‖² is twice the variance between samples, taken without bias from the samples of each batch.

    Args:
        spread: Sums of distances, of batches of two samples or more.

    Returns:
        Shape (); nan where all samples are alike.
    """
    return 1 - spread.distance / spread.samples / (2 * spread.clean / spread.freedom)


def correlation(spread: Spread) -> Tensor:
    """Return the correlation of x and y over samples, of all their values at once: 1 where y = a x + b with a > 0.

    Args:
        spread: Sums of distances, of batches of two samples or more.

    Returns:
        Shape (), from -1 to 1; nan where all samples are alike.
    """
    return spread.together / (spread.clean * spread.shifted).sqrt()


def has_style(moments: PairMoments) -> bool:
    """Return whether the means of channels differ between the clean samples, by more than rounding.

    Args:
        moments: Of a signal and its shifted form.

    Returns:
        Whether a style shift, and a correlation of means, is more than noise.
    """
    return not bool(instance_style_share(moments.clean) < max(NO_STYLE, moments.rounding**2))


def _iter_channels(x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    flat = [part.detach().reshape(part.shape[0], part.shape[1], -1) for part in (x, y)]
    samples, channels, length = flat[0].shape
    step = max(1, _CHUNK // (samples * length))
    for first in range(0, channels, step):
        a, b = (double(part[:, first : first + step]) for part in flat)
        yield a, b


def _moments_of(x: Tensor, y: Tensor, rounding: float) -> PairMoments:
    clean, shifted = (torch.var_mean(part, dim=2, correction=0) for part in (x, y))
    length = x.shape[2]
    return PairMoments(
        _instances(*clean, length),
        _instances(*shifted, length),
        (shifted[1] - clean[1]).square().sum(0),
        _log_ratios(clean, shifted).square().sum(0) if length > 1 else None,
        _spread(x, y),
        _spread(clean[1], shifted[1]),
        int((~torch.isfinite(x)).sum() + (~torch.isfinite(y)).sum()),
        rounding,
    )


def _instances(variance: Tensor, mean: Tensor, length: int) -> InstanceMoments:
    # Of the mean and variance of every sample and channel, (N, C).
    samples = len(mean)
    between, centre = torch.var_mean(mean, dim=0, correction=0)
    return InstanceMoments(samples * length, centre, between * samples * length, variance.sum(0) * length)


def _log_ratios(clean: tuple[Tensor, Tensor], shifted: tuple[Tensor, Tensor]) -> Tensor:
    squares = [variance + mean.square() for variance, mean in (clean, shifted)]
    floor = _FLOOR * (squares[0] + squares[1]) / 2
    ratio = (shifted[0] + floor) / (clean[0] + floor)
    return torch.where(floor == 0, 0.0, ratio.log() / 2)  # of a map that is 0 in both forms


def _spread(x: Tensor, y: Tensor) -> Spread:
    a, b = x - x.mean(0), y - y.mean(0)
    return Spread(len(x), len(x) - 1, (y - x).square().sum(), a.square().sum(), b.square().sum(), (a * b).sum())


def _merge_spreads(a: Spread, b: Spread) -> Spread:
    return Spread(a.samples + b.samples, a.freedom + b.freedom, *_sums(a, b))


def _sums(a: Spread, b: Spread) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return a.distance + b.distance, a.clean + b.clean, a.shifted + b.shifted, a.together + b.together


def _beside(a: PairMoments, b: PairMoments) -> PairMoments:
    # Of other channels of the same samples.
    def joined(one: InstanceMoments, other: InstanceMoments) -> InstanceMoments:
        parts = [torch.cat(pair) for pair in zip(_parts(one), _parts(other), strict=True)]
        return InstanceMoments(one.count, *parts)

    deviations = None if a.deviations is None or b.deviations is None else torch.cat((a.deviations, b.deviations))
    maps, pooled = (
        Spread(one.samples, one.freedom, *_sums(one, other)) for one, other in ((a.maps, b.maps), (a.pooled, b.pooled))
    )
    means = torch.cat((a.means, b.means))
    clean, shifted = joined(a.clean, b.clean), joined(a.shifted, b.shifted)
    return PairMoments(clean, shifted, means, deviations, maps, pooled, a.nonfinite + b.nonfinite, a.rounding)


def _parts(moments: InstanceMoments) -> tuple[Tensor, Tensor, Tensor]:
    return moments.mean, moments.between, moments.within


def _variance(moments: InstanceMoments) -> Tensor:
    return (moments.between + moments.within) / moments.count
