"""A gradient that is another than theory expects, in a network whose signal is what it should be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sppkit.curves.curves import PREDICTED
from sppkit.diagnosis.result import Diagnosis, predicted

if TYPE_CHECKING:
    from sppkit.curves.curves import Array, Curves

UNEXPECTED, _GRADIENT = "unexpected-gradient", "gradient_second_moment"
# Of 320 runs of one seed (docs/theory-gradient.md) one left theory by a factor 3.1 beyond six of its spreads, a narrow
# network of 600 layers; the next by 1.4.
_FACTOR, _SPREADS = 4.0, 6.0


def find_unexpected_gradient(curves: Curves) -> Diagnosis | None:
    """Find the block from which on, towards the input, the gradient leaves theory.

    It is where its factor is farthest from the one that is expected, among the blocks after the last row whose gradient
    is too far off.
    """
    if _GRADIENT not in curves.table or f"{PREDICTED}{_GRADIENT}" not in curves.table or curves.nonfinite.any():
        return None
    found, expected = curves.seed_mean(_GRADIENT), curves.seed_mean(f"{PREDICTED}{_GRADIENT}")
    if not (np.isfinite(found) & (found > 0) & (expected > 0)).all():  # a cut is a rule of its own
        return None
    off = np.log(found / expected)
    beyond = np.flatnonzero(np.abs(off) > math.log(_FACTOR) + _SPREADS * _sigma(curves, expected))
    if not len(beyond):
        return None
    before = int(beyond[-1])
    local = np.abs(np.diff(off))
    row = before + 1 + int(np.argmax(local[before:]))
    theirs, spread = predicted(curves, _GRADIENT, row - 1)
    return Diagnosis(
        name=UNEXPECTED,
        severity="error",
        block=int(curves.blocks[row]),
        block_name=curves.names[row],
        worst_block=int(curves.blocks[row]),
        statistic=_GRADIENT,
        found=float(found[row - 1]),
        limit=float(expected[row - 1] * (_FACTOR if off[row - 1] > 0 else 1 / _FACTOR)),
        expected=theirs,
        spread=spread,
        fact=f"The gradient leaves theory at {curves.named(row)}, which multiplies it on its way back by "
        f"{found[row - 1] / found[row]:.3g} instead of {expected[row - 1] / expected[row]:.3g}",
        cause="its signal is as expected, so that its backward pass alone is another: a part of it is detached, or "
        "scales its gradient",
        remedy=f"look at what {curves.names[row]} does between its signal and autograd",
    )


def _sigma(curves: Curves, expected: Array) -> Array:
    spread = curves.seed_mean(f"{PREDICTED}{_GRADIENT}_spread")
    sigma: Array = np.sqrt(np.log1p((spread / expected) ** 2) / max(1, len(curves.seeds)))
    return sigma
