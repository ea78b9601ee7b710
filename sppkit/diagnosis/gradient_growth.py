"""A sensitivity that grows towards the input by a factor per block, instead of by a power of the depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.diagnosis.layers import takes_mean_out
from sppkit.diagnosis.result import diagnosed

if TYPE_CHECKING:
    from sppkit.curves.curves import Array, Curves
    from sppkit.diagnosis.result import Diagnosis

_GRADIENT = "gradient_second_moment"
# Beside a skip connection, block k of a stage multiplies the gradient by 1 + r³/k, r = pi/(pi - 1), whether it is
# BN-ReLU-Conv, ReLU-BN-Conv or NF (three normalized layers in a branch, alpha 1): a power law, harmless at any depth.
_PER_BLOCK = (np.pi / (np.pi - 1)) ** 3
# Beyond that, in networks with skips; without them, in all. Of small networks that were trained with five optimizers
# (benchmarks/trainability), those of the kinds for fitting that learnt reached 24.6 and 3e4, slowly; those next above,
# 108 and 1e7, learnt nothing.
_MOST_WITH_SKIPS, _MOST_WITHOUT = 25.0, 2e6
# From here on few of them learnt, and with few settings.
_MANY_WITH_SKIPS, _MANY_WITHOUT = 10**0.5, 10**2.5
# Without skips nobody trains so deep but with a gradient that keeps its size: every layer's step of relative size d
# changes what all others see, together by d times the depth. 30 layers with their activations (He et al. 2015,
# arXiv:1502.01852) are 60 modules, 50 with normalizers 150. Rows are no chain where branches run in parallel: such
# networks (Inception) have normalizers over the batch, which take the mean out, and are left alone.
_DEEP, _MOST_OF_DEEP = 150, 10.0


def find_gradient_growth(curves: Curves) -> Diagnosis | None:
    """Find a sensitivity to the first rows that is far beyond that to the last one.

    The sensitivity of a row is its gradient's second moment times its variance times its values: what a change of the
    signal by a given share of itself does to the end. It does not depend on the scale of the row.
    """
    if curves.network.known or not curves.network.initial or _GRADIENT not in curves.table:
        return None
    sensitivity = _sensitivity(curves)
    excess = sensitivity / (1.0 if curves.layered else _power_law(curves)) if len(sensitivity) else sensitivity
    many, most = _limits(curves)
    if not len(excess) or not excess[0] > many:
        return None
    gradient = curves.seed_mean(_GRADIENT)[curves.judged]
    fails = bool(excess[0] > most)
    return diagnosed(
        curves,
        "gradient-growth",
        "error" if fails else "warning",
        begins=0,
        worst=0,
        statistic=_GRADIENT,
        limit=float(gradient[0] / excess[0] * (most if fails else many)),
        fact=f"Signal times gradient grows towards the input: their second moments' product is {sensitivity[0]:.3g} "
        f"times the last row's at {curves.at(0)}, {sensitivity[0] ** (1 / max(1, len(gradient) - 1)):.3g} times per "
        f"{curves.unit}",
        cause=f"{_modules(curves)} layers multiply it, and no skip connection carries it past them"
        if curves.layered
        else "the branches' Jacobians outweigh the skip connections",
        remedy="add skip connections"
        if curves.layered
        else "normalize the branches' input, or scale the branches down",
    )


def _limits(curves: Curves) -> tuple[float, float]:
    """Return from where on few networks learn, and from where on none does."""
    if not curves.layered:
        return _MANY_WITH_SKIPS, _MOST_WITH_SKIPS
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = takes_mean_out(curves.mean / curves.variance)
    deep = _modules(curves) >= _DEEP and not centred
    return (_MOST_OF_DEEP, _MOST_OF_DEEP) if deep else (_MANY_WITHOUT, _MOST_WITHOUT)


def _modules(curves: Curves) -> int:
    """Return how many modules have a row; a recurrent cell has one for each of its calls."""
    return len({curves.names[row].partition("#")[0] for row in curves.judged})


def _sensitivity(curves: Curves) -> Array:
    """Return that of each judged row over the last one's; empty where it can't be told."""
    rows = curves.rows.iloc[curves.judged]
    space = rows[["height", "width"]].astype("float64").fillna(1.0).prod(axis=1).to_numpy()
    values = rows["channels"].astype("float64").fillna(1.0).to_numpy() * space
    sensitivity: Array = curves.seed_mean(_GRADIENT)[curves.judged] * curves.variance * values
    if not len(sensitivity) or not np.isfinite(sensitivity).all() or not sensitivity[-1] > 0:
        return np.zeros(0)
    over_last: Array = sensitivity / sensitivity[-1]
    return over_last


def _power_law(curves: Curves) -> Array:
    """Return what healthy blocks multiply the gradient by, from each row to the last one."""
    place = np.arange(len(curves.variance))
    inside = place - np.maximum.accumulate(np.where(curves.starts, place, 0)) + 1
    factors = 1 + _PER_BLOCK / inside
    # From row k to the last one stand the blocks k + 1 and on.
    law: Array = np.append(np.cumprod(factors[:0:-1])[::-1], 1.0)
    return law
