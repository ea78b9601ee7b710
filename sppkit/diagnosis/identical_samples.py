"""Inputs that have become one: what tells them apart is lost in what they share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Array, Curves
    from sppkit.diagnosis.result import Diagnosis

# Shares of the second moment. Below the first, differences are 3e-7 of the signal, five times what float32 rounds to
# (6e-8): of the small networks that were trained (benchmarks/trainability) none of the kinds for fitting learnt beyond.
_LOST = 1e-13
# Where the common part is of the size of a usual signal, every step of an optimizer moves it for all inputs at once:
# Adam's step of 0.001 in 50 weights by 0.05 of its size. Of the same kinds none with a share below the second learnt
# (4e-7 and less); those next above it (5e-5 and more) did, slowly.
_DROWNED, _LOUD = 1.5e-5, 1.0
# Beside skip connections what is common is lost again only in a normalizer. Post-norm transformers whose share fell
# to 1/33 and less did not learn; those above 1/13 did. The common part must have grown tenfold, relative to what
# differs, while that fell: a constant that a first block adds to a stream that goes on is no collapse.
_DROWNED_STREAM, _GROWN, _HEARD = 1 / 20, 10.0, 0.3
# A head may start at 0: the rows of its layer, and of what stands after it.
_ZERO_HEAD = 2


def find_identical_samples(curves: Curves) -> Diagnosis | None:
    """Find where what differs between samples is lost in what is common to them, to the end."""
    network, variance, mean = curves.network, curves.variance, curves.mean
    if network.known or not network.initial or not len(variance):
        return None
    total = variance + mean
    # A table may hold no means; a signal that is 0 is alike everywhere.
    share = np.divide(variance, total, out=np.where(total == 0, 0.0, np.nan), where=total > 0)
    limit = _limit(curves, share)
    differs = np.flatnonzero(~(share < limit))
    begins = int(differs[-1]) + 1 if len(differs) else 0
    if begins >= len(share) - (0 if total[-1] > 0 else _ZERO_HEAD):
        return None
    worst = len(share) - 1
    if share[worst] >= _LOST and curves.layered and begins == worst:
        return None  # a head may have a bias of its own
    how = "which rounding hides" if share[worst] < _LOST else "which any change of the common rest drowns"
    return diagnosed(
        curves,
        "identical-samples",
        "error",
        begins=begins,
        worst=worst,
        statistic="channel_variance",
        limit=float(limit * total[worst]),
        fact=f"All inputs look alike from {curves.at(begins)} on: their differences are {share[worst] ** 0.5:.1g} of "
        f"the signal, {how}",
        cause="layer after layer passes on less of what differs than of what is common",
        remedy="centre the signal (a normalizer over the batch, centred weights, smaller biases), or keep weights of "
        "variance 1/(fan_in E f²)",
    )


def _limit(curves: Curves, share: Array) -> float:
    """Return below which share at the end inputs count as one."""
    loud = curves.mean[-1] > (_LOUD if curves.layered else _HEARD)
    if curves.layered:
        return _DROWNED if loud else _LOST
    # A pool leaves of independent positions as little as it averages, and of what is common all.
    averaged = curves.map_sizes.prod(axis=0)
    left = max(1.0, float(averaged[0] / averaged[-1])) if curves.network.white_input else 1.0
    fell = curves.variance[-1] * left < curves.variance[0] and share[-1] * left * _GROWN < share[0]
    return _DROWNED_STREAM if loud and fell else _LOST
