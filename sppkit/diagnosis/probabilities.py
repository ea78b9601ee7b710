"""A network that returns probabilities, which most losses do not take."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Curves
    from sppkit.diagnosis.result import Diagnosis


_SEVERAL = 2


def find_probabilities(curves: Curves) -> Diagnosis | None:
    """Find an output whose channels sum to one.

    A cross-entropy that takes logits applies a softmax again. Of C shares the best are one 1 and zeros, for which it is
    log(e + C - 1) - 1: 0.63 of the loss of a blind guess, log C, for ten classes.
    """
    network, output = curves.network, curves.output
    if network.known or output is None or not output.sums_to_one or output.channels < _SEVERAL:
        return None
    if not len(curves.variance):
        return None
    last = len(curves.variance) - 1
    classes = output.channels
    least = math.log(math.e + classes - 1) - 1
    return diagnosed(
        curves,
        "probabilities",
        "warning",
        begins=last,
        worst=last,
        statistic="channel_variance",
        limit=output.variance,
        found=output.variance,
        fact=f"What the network returns sums to 1 over {classes} channels: probabilities, not logits",
        cause=f"a cross-entropy of logits stays above {least:.2f} with them, where a blind guess has "
        f"{math.log(classes):.2f}",
        remedy="return what goes into the softmax, or take the negative log likelihood of the logarithm",
    )
