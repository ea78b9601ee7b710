"""The stem's 3x3 max-pool: the largest of up to nine independent normal numbers, which is not normal itself.

White noise after a convolution with random filters is white, so that the candidates are independent; beside a border
some have fewer taps and so a smaller variance. M is the largest, F its distribution function, the product of the
candidates'. Two windows that overlap share candidates, and are taken to be independent: see docs/theory.md.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sppkit.theory.signal import OTHER, Signal
from sppkit.theory.window import positions_seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from sppkit.theory.arrays import Floats

_KERNEL, _STRIDE = 3, 2
# Relative step of the second difference in the variance.
_STEP = 0.1
# In standard deviations of the widest candidate: beyond 9 the largest of nine has a mass of 1e-18. The trapezoidal rule
# on 6001 points is right to 1e-6 where the function has a kink.
_NODES = np.linspace(-9.0, 9.0, 6001)


def max_pool(signal: Signal, function: Callable[[Floats], Floats]) -> Signal:
    """Return function(M) of every window.

    Args:
        signal: The stem's convolution of white noise: of mean 0, without covariances.
        function: What follows the pool, elementwise.

    Returns:
        The signal after the function.
    """
    # The pool pads with -inf wherever the convolutions wrap around.
    plain = [replace(axis, circular=False) for axis in (signal.grid.rows, signal.grid.columns)]
    rows, columns = (axis.taps(_KERNEL, _STRIDE).classes for axis in plain)
    shape = rows.shape[1], columns.shape[1]
    mean, second = np.empty(shape), np.empty(shape)
    known: dict[tuple[float, ...], tuple[float, float]] = {}
    for row in range(shape[0]):
        for column in range(shape[1]):
            seen = np.ix_(rows[:, row][rows[:, row] >= 0], columns[:, column][columns[:, column] >= 0])
            window = tuple(sorted(signal.second[seen].ravel().tolist()))
            if window not in known:
                known[window] = _corrected(window, function, signal.scatter.excess)
            mean[row, column], second[row, column] = known[window]
    grid = positions_seen(signal.grid, _KERNEL, _STRIDE)[0]
    return Signal(grid, second, mean, {OTHER: grid.pairs.ends.product(mean)})


def _corrected(
    variances: tuple[float, ...], function: Callable[[Floats], Floats], excess: float
) -> tuple[float, float]:
    """Return both moments with the correction for filters of one length, as ``steps.activate`` has it."""
    moments = moments_of_largest(variances, function)
    if not excess:
        return moments

    def at(scale: float) -> tuple[float, float]:
        return moments_of_largest(variances, lambda x: function(math.sqrt(scale) * x))

    bends = zip(at(1 - _STEP), moments, at(1 + _STEP), strict=True)
    mean, second = (here + excess / 2 * (low + high - 2 * here) / _STEP**2 for low, here, high in bends)
    return mean, second


def moments_of_largest(variances: tuple[float, ...], function: Callable[[Floats], Floats]) -> tuple[float, float]:
    """Return E f(M) and E f(M)², M the largest of independent normal numbers.

    Args:
        variances: Of the candidates; at least one of them above 0.
        function: f.

    Returns:
        Mean and second moment.

    >>> [round(moment, 4) for moment in moments_of_largest((1.0,) * 9, lambda x: x)]
    [1.485, 2.5626]
    """
    widest = math.sqrt(max(variances))
    x = widest * _NODES
    mass = np.diff(np.prod([_distribution(widest / math.sqrt(variance)) for variance in variances], axis=0))
    values = function(x)
    # Of each interval, the mean of both ends.
    return float(mass @ (values[1:] + values[:-1])) / 2, float(mass @ (values[1:] ** 2 + values[:-1] ** 2)) / 2


@functools.lru_cache(maxsize=256)
def _distribution(scale: float) -> Floats:
    return np.array([math.erfc(-scale * z / math.sqrt(2)) / 2 for z in _NODES.tolist()])
