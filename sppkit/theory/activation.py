"""What an activation makes of two jointly Gaussian numbers.

phi is the activation, u and v are normal with mean 0, variances s² and t² and covariance rho s t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from sppkit.theory.pairs import NO_PAIRS

if TYPE_CHECKING:
    from sppkit.theory.arrays import Floats
    from sppkit.theory.pairs import Ends


class Moments(NamedTuple):
    """Of phi(u), each of the shape of the variances D = s² of u.

    Attributes:
        mean: m = E phi.
        second: q = E phi².
        third: E phi³.
        fourth: E phi⁴.
        linear: E phi u/s.
        squared_linear: E phi² u/s.
        mean_slope: D dm/dD.
        mean_bend: D² d²m/dD².
        second_slope: D dq/dD.
        second_bend: D² d²q/dD².
    """

    mean: Floats
    second: Floats
    third: Floats
    fourth: Floats
    linear: Floats
    squared_linear: Floats
    mean_slope: Floats
    mean_bend: Floats
    second_slope: Floats
    second_bend: Floats


class Slopes(NamedTuple):
    """Of phi'(u), each of the shape of the variances of u.

    Attributes:
        mean: E phi'.
        second: E phi'².
        linear: E phi'² u/s: how the share of a gradient that passes follows a channel's mean.
        with_first: E phi'² phi.
        with_second: E phi'² phi².
    """

    mean: Floats
    second: Floats
    linear: Floats
    with_first: Floats
    with_second: Floats


class Nonlinearity(Protocol):
    """An elementwise function, and what it makes of Gaussian numbers."""

    def __call__(self, x: Floats) -> Floats:
        """Apply it."""

    def derivative(self, x: Floats) -> Floats:
        """Return phi', of whatever is at a kink."""

    def slopes(self, variance: Floats) -> Slopes:
        """Return the moments of phi'(u).

        Args:
            variance: Of u, of shape (rows, columns).
        """

    def transform(
        self, variance: Floats, pairs: dict[str, Floats], ends: Ends = NO_PAIRS
    ) -> tuple[Moments, dict[str, Floats]]:
        """Return the moments of phi(u), and E phi(u) phi(v) of all pairs of positions.

        Args:
            variance: Of u, of shape (rows, columns).
            pairs: Covariances of u and v, each of all pairs.
            ends: Where u and v are.
        """


@dataclass(frozen=True)
class TwoSlopes:
    """phi(x) = right * x for x > 0 and left * x for x < 0: ReLU, leaky ReLU, the identity.

    Attributes:
        right: Slope above 0.
        left: Slope below 0.
    """

    right: float
    left: float

    def __call__(self, x: Floats) -> Floats:
        """Apply it.

        Args:
            x: Any shape.

        Returns:
            The same shape.
        """
        return np.where(x > 0, self.right * x, self.left * x)

    def derivative(self, x: Floats) -> Floats:
        """Return phi'.

        Args:
            x: Any shape.

        Returns:
            The same shape.
        """
        return np.where(x > 0, self.right, self.left)

    def slopes(self, variance: Floats) -> Slopes:
        """Return the moments of phi'(u): half of the numbers have either slope.

        Args:
            variance: s² at each position, of shape (rows, columns).

        Returns:
            Moments.
        """
        half = 1 / math.sqrt(2 * math.pi)  # E z of the positive ones
        r, t = self.right, self.left
        return Slopes(
            mean=np.full_like(variance, (r + t) / 2),
            second=np.full_like(variance, (r**2 + t**2) / 2),
            linear=np.full_like(variance, (r**2 - t**2) * half),
            with_first=(r**3 - t**3) * half * np.sqrt(variance),
            with_second=(r**4 + t**4) / 2 * variance,
        )

    def transform(
        self, variance: Floats, pairs: dict[str, Floats], ends: Ends = NO_PAIRS
    ) -> tuple[Moments, dict[str, Floats]]:
        """Return the moments of phi(u), and E phi(u) phi(v) of all pairs of positions.

        The moments follow from E |z| = sqrt(2/pi), E |z|³ = 2 sqrt(2/pi) and E z⁴ = 3. The products are
        s t ((right - left)² k(rho) + right left rho) with ReLU's own k: phi(x) = right relu(x) - left relu(-x), and
        relu(-u), relu(v) have k(-rho) = k(rho) - rho/2.

        Args:
            variance: s² at each position, of shape (rows, columns).
            pairs: Covariances, each of all pairs.
            ends: Where u and v are.

        Returns:
            Moments, and the same kinds of pairs.
        """
        std, r, t = np.sqrt(variance), self.right, self.left
        half = 1 / math.sqrt(2 * math.pi)  # E relu(z)
        mean, second = (r - t) * half * std, (r**2 + t**2) / 2 * variance
        moments = Moments(
            mean=mean,
            second=second,
            third=2 * (r**3 - t**3) * half * std**3,
            fourth=1.5 * (r**4 + t**4) * variance**2,
            linear=(r + t) / 2 * std,
            squared_linear=2 * (r**2 - t**2) * half * variance,
            mean_slope=mean / 2,
            mean_bend=-mean / 4,
            second_slope=second,
            second_bend=np.zeros_like(second),
        )
        return moments, self._products(ends.product(std), pairs)

    def _products(self, scale: Floats, pairs: dict[str, Floats]) -> dict[str, Floats]:
        bend, line = (self.right - self.left) ** 2, self.right * self.left

        def product(covariance: Floats) -> Floats:
            curved = bend * scale * arc_cosine(correlation(covariance, scale)) if bend else 0.0
            return np.asarray(curved + line * covariance)

        return {kind: product(covariance) for kind, covariance in pairs.items()}


def correlation(covariance: Floats, scale: Floats) -> Floats:
    """Return covariance / scale, within [-1, 1] also after rounding; 0 where there is no signal.

    Args:
        covariance: Any shape.
        scale: Product of the two standard deviations.

    Returns:
        The same shape.
    """
    rho = np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)
    return np.clip(rho, -1.0, 1.0, out=rho)


def arc_cosine(rho: Floats) -> Floats:
    """Return E relu(u) relu(v) of two standard normal numbers (Cho & Saul 2009, equation 6).

    Args:
        rho: Their correlation, any shape.

    Returns:
        The same shape.

    >>> [round(float(k), 4) for k in arc_cosine(np.array([-1.0, 0.0, 1.0]))]
    [0.0, 0.1592, 0.5]
    """
    # 1 - rho² as a product, which keeps its digits where rho is close to 1.
    root = np.sqrt((1 - rho) * (1 + rho))
    return (root + rho * (math.pi - np.arccos(rho))) / (2 * math.pi)
