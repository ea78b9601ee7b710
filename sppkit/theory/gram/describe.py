"""Recognizing functions of which more is known than their values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sppkit.theory.activation import TwoSlopes

if TYPE_CHECKING:
    from sppkit.theory.activation import Nonlinearity


def describe_function(function: Nonlinearity) -> Nonlinearity | tuple[float, float]:
    """Say whether a function is a line, or two that meet at 0, of which more is known.

    Args:
        function: The function.

    Returns:
        The line's slope and offset, the two slopes, or the function itself.
    """
    x = np.concatenate((-np.exp2(np.arange(-8.0, 5.0))[::-1], np.exp2(np.arange(-8.0, 5.0))))
    y = np.asarray(function(x))
    at_zero = float(np.asarray(function(np.zeros(1)))[0])
    scale = float(np.abs(y).max()) + abs(at_zero) + 1e-300
    left, right = (y[0] - at_zero) / x[0], (y[-1] - at_zero) / x[-1]
    line = np.where(x < 0, left * x, right * x) + at_zero
    if np.abs(y - line).max() > 1e-6 * scale:
        return function
    if abs(left - right) <= 1e-6 * max(abs(left), abs(right), 1e-300):
        return float(right), at_zero
    return function if abs(at_zero) > 1e-12 * scale else TwoSlopes(float(right), float(left))
