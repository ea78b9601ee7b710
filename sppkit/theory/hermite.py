"""Moments of any activation of jointly Gaussian numbers, by its Hermite coefficients.

With h_k the normalized probabilists' Hermite polynomials, phi(s z) = sum_k a_k(s) h_k(z) for z ~ N(0, 1), and two
normal numbers u, v of correlation rho have E phi(u) phi(v) = sum_k a_k a_k' rho^k (Mehler's formula).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sppkit.theory.activation import Moments, Slopes, arc_cosine, correlation
from sppkit.theory.pairs import NO_PAIRS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sppkit.theory.arrays import Floats
    from sppkit.theory.pairs import Ends

# Terms of the series that are summed; the rest is put into one more term, see _Rest.
ORDER = 32
# Terms are left out where they could change no E phi(u) phi(v) by more than this share of E phi².
_NEGLIGIBLE = 1e-9
# Panels of the standard normal variable: half a unit wide, and split where the activation has its features, at x = 0,
# +-1/8 ... +-64, and its kinks. Within 12-point panels h_32 turns by less than 3 radians.
_EDGES = np.linspace(-9.0, 9.0, 37)
_FEATURES = np.concatenate((-np.exp2(np.arange(-3.0, 7.0)), [0.0], np.exp2(np.arange(-3.0, 7.0))))
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
# From the values of a polynomial at the nodes to those of its derivative, on a panel from -1 to 1.
_DIFFERENTIATE = np.linalg.solve(
    np.polynomial.legendre.legvander(_NODES, 11).T,
    np.stack([np.polynomial.legendre.legval(_NODES, np.polynomial.legendre.legder(row)) for row in np.eye(12)]),
).T
# The coefficients are analytic in log s: where a map has many variances, this many Chebyshev points of their range.
_POINTS = 16


@dataclass(frozen=True)
class Smooth:
    """An activation known by its values.

    Attributes:
        function: phi, from an array to one of the same shape.
        kinks: Where phi or its derivative jumps.
    """

    function: Callable[[Floats], Floats]
    kinks: tuple[float, ...] = ()

    def __call__(self, x: Floats) -> Floats:
        """Apply it.

        Args:
            x: Any shape.

        Returns:
            The same shape.
        """
        return self.function(x)

    def derivative(self, x: Floats) -> Floats:
        """Return phi', by a central difference: right to 1e-9 but for the step's width around a kink.

        Args:
            x: Any shape.

        Returns:
            The same shape.
        """
        step = 1e-6
        return (self.function(x + step) - self.function(x - step)) / (2 * step)

    def slopes(self, variance: Floats) -> Slopes:
        """Return the moments of phi'(u): inside each panel phi is a polynomial, which is differentiated.

        Args:
            variance: s² at each position, of shape (rows, columns).

        Returns:
            Moments.
        """
        return Slopes(*self._over(variance, self._integrate_slopes))

    def transform(
        self, variance: Floats, pairs: dict[str, Floats], ends: Ends = NO_PAIRS
    ) -> tuple[Moments, dict[str, Floats]]:
        """Return the moments of phi(u), and E phi(u) phi(v) = sum_k a_k a_k' rho^k of all pairs of positions.

        A Gaussian expectation obeys the heat equation, d/dD E g = E g''/2, and E g'' = sqrt(2) E g h_2 / D. So
        D d/dD E g = E g h_2 / sqrt(2), and in the same way D² d²/dD² E g = sqrt(24)/4 E g h_4.

        Args:
            variance: s² at each position, of shape (rows, columns).
            pairs: Covariances, each of all pairs.
            ends: Where u and v are.

        Returns:
            Moments, and the same kinds of pairs.
        """
        known = self._over(variance, self._integrate)
        coefficients, (second, third, fourth, tilt, slope, bend) = known[:ORDER], known[ORDER:]
        moments = Moments(
            mean=known[0],
            second=second,
            third=third,
            fourth=fourth,
            linear=known[1],
            squared_linear=tilt,
            mean_slope=known[2] / math.sqrt(2),
            mean_bend=known[4] * math.sqrt(24) / 4,
            second_slope=slope / math.sqrt(2),
            second_bend=bend * math.sqrt(24) / 4,
        )
        scale = ends.product(np.sqrt(variance))
        return moments, {
            kind: sum_series(coefficients, second, correlation(pair, scale), ends) for kind, pair in pairs.items()
        }

    @staticmethod
    def _over(variance: Floats, integrate: Callable[[Floats], Floats]) -> Floats:
        """Return what is integrated for each variance, along the first axis."""
        values, inverse = np.unique(variance, return_inverse=True)
        if len(values) > _POINTS and values[0] > 0:
            logs = np.log(values)
            middle, half = (logs[-1] + logs[0]) / 2, (logs[-1] - logs[0]) / 2
            points = np.cos(math.pi * (np.arange(_POINTS) + 0.5) / _POINTS)
            at_points = integrate(np.exp(middle + half * points))
            series = np.polynomial.chebyshev.chebfit(points, at_points.T, _POINTS - 1)
            found = np.polynomial.chebyshev.chebval((logs - middle) / half, series)
        else:
            found = integrate(values)
        return np.asarray(found[:, inverse.reshape(variance.shape)])

    def _panels(self, std: Floats) -> tuple[Floats, Floats]:
        """Return the nodes of each panel, and half the panels' widths, for each standard deviation."""
        with np.errstate(divide="ignore", invalid="ignore"):
            features = np.concatenate((_FEATURES, self.kinks)) / std
        inside = np.clip(np.nan_to_num(features, nan=9.0), -9.0, 9.0)
        edges = np.sort(np.concatenate((np.broadcast_to(_EDGES, (len(std), len(_EDGES))), inside), axis=1), axis=1)
        half = np.diff(edges)[:, :, None] / 2
        return (edges[:, 1:, None] + edges[:, :-1, None]) / 2 + half * _NODES, half

    def _integrate_slopes(self, variance: Floats) -> Floats:
        """Return E phi', and E phi'² times 1, z, phi and phi²."""
        std = np.sqrt(variance)[:, None]
        z, half = self._panels(std)
        width = std[:, :, None] * half
        phi = self.function((std * z.reshape(len(std), -1)).reshape(-1)).reshape(z.shape)
        # A panel that its neighbours' edges leave no width has no weight either.
        slope = np.divide(phi @ _DIFFERENTIATE.T, width, out=np.zeros_like(phi), where=width > 0)
        first = half * _WEIGHTS * np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * slope
        second = first * slope
        weighted = (first, second, second * z, second * phi, second * phi * phi)
        return np.stack([np.sum(values, axis=(1, 2)) for values in weighted])

    def _integrate(self, variance: Floats) -> Floats:
        """Return a_0 ... a_(ORDER - 1), E phi², phi³, phi⁴, phi² h_1, phi² h_2 and phi² h_4, along the first axis."""
        std = np.sqrt(variance)[:, None]
        z, half = self._panels(std)
        z = z.reshape(len(std), -1)
        weight = (half * _WEIGHTS).reshape(z.shape) * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        phi = self.function(std * z)
        weighted, rows = weight * phi, np.empty((ORDER + 6, len(std)))
        squared = weighted * phi
        before, hermite = np.zeros_like(z), np.ones_like(z)
        for k in range(ORDER):
            rows[k] = np.sum(weighted * hermite, axis=1)
            if k in {1, 2, 4}:
                rows[ORDER + 3 + k // 2] = np.sum(squared * hermite, axis=1)
            before, hermite = hermite, (z * hermite - math.sqrt(k) * before) / math.sqrt(k + 1)
        rows[ORDER : ORDER + 3] = [np.sum(squared * phi**power, axis=1) for power in range(3)]
        return rows


def sum_series(coefficients: Floats, second: Floats, rho: Floats, ends: Ends) -> Floats:
    """Return E phi(u) phi(v) = sum_k a_k a_k' rho^k of all pairs of positions.

    Args:
        coefficients: a_0 ... a_(ORDER - 1) at each position, of shape (ORDER, rows, columns).
        second: E phi² at each position, of shape (rows, columns).
        rho: Correlations of all pairs.
        ends: Where u and v are.

    Returns:
        The shape of ``rho``.
    """
    rest = np.maximum(0.0, second - np.cumsum(coefficients**2, axis=0))  # after each term
    reach = float(np.max(np.abs(rho), initial=0.0))
    errors = rest.max(axis=(1, 2)) * reach ** np.arange(1, ORDER + 1)
    enough = np.flatnonzero(errors <= _NEGLIGIBLE * float(second.max(initial=0.0)))
    terms = int(enough[0]) + 1 if len(enough) else ORDER
    total = np.zeros_like(rho)
    for a in coefficients[:terms][::-1]:
        total *= rho
        total += ends.product(a)
    if not len(enough):
        total += ends.product(np.sqrt(rest[-1])) * _rest(rho)
    return total


def _rest(rho: Floats) -> Floats:
    """Return what the terms from ORDER on sum up to, in units of their sum at rho = 1.

    They come from the kinks, where phi' jumps as ReLU's does: their shape is that of ReLU's own series, known from its
    closed form. For a smooth activation there is nothing left to distribute.

    Args:
        rho: Any shape.

    Returns:
        The same shape.
    """
    squares = _relu_squares()
    partial = np.polynomial.polynomial.polyval(rho, squares)
    return np.asarray((arc_cosine(rho) - partial) / (0.5 - squares.sum()))


@functools.cache
def _relu_squares() -> Floats:
    # The expansion of the arc-cosine kernel: 1/(2 pi), 1/4, and for even k ((k - 3)!!)²/(2 pi k!).
    squares = np.zeros(ORDER)
    squares[:3] = 1 / (2 * math.pi), 0.25, 1 / (4 * math.pi)
    for k in range(4, ORDER, 2):
        squares[k] = squares[k - 2] * (k - 3) ** 2 / (k * (k - 1))
    return squares
