"""Samples that hardly differ from the first row on: the input drowns in what is added to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Array, Curves
    from sppkit.diagnosis.result import Diagnosis

_SHARE = "instance_style_share"
# Differences between samples of a thousandth of the signal's size: one step of 0.001 of its own size moves all of them
# as far. Of small networks that were trained (benchmarks/trainability, the kinds for fitting) none learnt at 2.9e-7 and
# less; two did at 3.4e-6 and 4e-6, in 400 steps; between them, on a logarithmic scale.
_DROWNED = 1e-6
# Below it is rounding, 6e-8 of the size squared, and no difference: one sample, or a stream that is no input's.
_NONE = 1e-13


def find_drowned_input(curves: Curves) -> Diagnosis | None:
    """Find networks in which samples differ by less than a millionth of the second moment at every row."""
    if curves.network.known or not curves.network.initial or _SHARE not in curves.table:
        return None
    between = _between_samples(curves)
    if not len(between) or not np.isfinite(between).all() or not _NONE < between.max() < _DROWNED:
        return None
    return diagnosed(
        curves,
        "drowned-input",
        "error",
        begins=0,
        worst=0,
        statistic=_SHARE,
        limit=float(curves.seed_mean(_SHARE)[curves.judged][0] * _DROWNED / between[0]),
        fact=f"Samples differ by at most {between.max() ** 0.5:.1g} of the signal's size at every {curves.unit}, from "
        f"{curves.at(0)} on",
        cause="what is the same for all of them is larger: positions, biases, or the input's own mean",
        remedy="standardize the input, and draw positions and biases no larger than what they are added to",
    )


def _between_samples(curves: Curves) -> Array:
    """Return the share of the second moment that differs between samples, at most, shape (M,).

    The style share is that of samples' means over P positions: of independent positions it shows a P-th.
    """
    positions = curves.map_sizes.prod(axis=0)
    total = curves.variance + curves.mean
    varies = np.divide(curves.variance, total, out=np.full_like(total, np.nan), where=total > 0)
    between: Array = np.minimum(curves.seed_mean(_SHARE)[curves.judged] * positions, 1.0) * varies
    return between
