"""Inputs that have become one: what tells them apart is lost in the rounding of what they share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Curves
    from sppkit.diagnosis.result import Diagnosis

# Of the second moment. Differences are then 3e-7 of the signal, five times what float32 rounds to (6e-8). Of 186 small
# networks that were trained with five optimizers each (benchmarks/trainability), the nine below it learnt nothing; of
# the seven next above five did, slowly.
_LOST = 1e-13
# A head may start at 0: the rows of its layer, and of what stands after it.
_ZERO_HEAD = 2


def find_identical_samples(curves: Curves) -> Diagnosis | None:
    """Find where the variance over samples is less than 1e-13 of the second moment, to the end."""
    network, variance, mean = curves.network, curves.variance, curves.mean
    if network.known or not network.initial or not len(variance):
        return None
    total = variance + mean
    # A table may hold no means; a signal that is 0 is alike everywhere.
    share = np.divide(variance, total, out=np.where(total == 0, 0.0, np.nan), where=total > 0)
    differs = np.flatnonzero(~(share < _LOST))
    begins = int(differs[-1]) + 1 if len(differs) else 0
    if begins >= len(share) - (0 if total[-1] > 0 else _ZERO_HEAD):
        return None
    worst = len(share) - 1
    return diagnosed(
        curves,
        "identical-samples",
        "error",
        begins=begins,
        worst=worst,
        statistic="channel_variance",
        limit=float(_LOST * total[worst]),
        fact=f"All inputs look alike from {curves.at(begins)} on: their differences are {share[worst] ** 0.5:.1g} of "
        "the signal, which rounding hides",
        cause="layer after layer passes on less of what differs than of what is common: weights too small for their "
        "fan-in, or an activation that saturates",
        remedy="draw weights of variance 1/(fan_in E f²), 2/fan_in for ReLU (torch.nn.init.kaiming_normal_), or "
        "normalize over the batch",
    )
