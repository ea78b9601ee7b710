"""Moments of an activation of a Gaussian, by adaptive quadrature."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import torch

from sppkit.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from sppkit.models.activations import Activation

    Floats: TypeAlias = NDArray[np.float64]


class GaussianMoments(NamedTuple):
    """The first two moments of f(x), x ~ N(mean, std^2).

    Attributes:
        mean: E f(x).
        variance: E (f(x) - E f(x))^2, integrated as it stands: no difference of two large numbers.
        variance_error: An estimate of the variance's absolute error: the sum over panels of how far two quadrature
            rules disagree, which rounding of f takes part in.
    """

    mean: float
    variance: float
    variance_error: float

    @property
    def second_moment(self) -> float:
        """E f(x)^2 = variance + mean^2."""
        return self.variance + self.mean * self.mean


# z is the standard normal variable throughout, x = mean + std z what the activation sees.

# Beyond 37 the normal mass is erfc(37/sqrt(2)) = 4e-300, and the density, exp(-37^2/2)/sqrt(2 pi) = 2e-298, is about to
# leave the doubles (2.2e-308). Rounding of a sum of order 1 (1.1e-16) would allow 9; but the variance of an activation
# that lives in the tail, as relu's at mean = -20 std, is then right as well.
_WINDOW = 37.0
# First panels: a quarter wide where a unit Gaussian has its mass (2e-19 lies beyond 9), wider outside; bisection does
# the rest. A feature narrower than the gaps between the 31 nodes of a quarter, about 0.02, and far from x = 0 can be
# overlooked unless it is named as a kink.
_TAIL = np.array([13.0, 19.0, 27.0, _WINDOW])
_EDGES = np.concatenate((-_TAIL[::-1], np.linspace(-9.0, 9.0, 73), _TAIL))
# An activation changes on its own scale, 1 around x = 0, however large std is: panels end at x = 0 and +-1/8 ... +-64,
# beyond which every registered activation is a straight line to rounding, or, softsign, smooth on every scale.
_SCALE = np.exp2(np.arange(-3.0, 7.0))
_FEATURES = np.concatenate((-_SCALE, [0.0], _SCALE))


# n-point Gauss-Lobatto: nodes at +-1 and where P' = 0, P the Legendre polynomial of degree n - 1; weights
# 2/(n (n - 1) P^2) (Abramowitz & Stegun 25.4.32). The outer two are moved inwards by 1e-12, far more than kinks round,
# so that at a kink they see their own side.
def _lobatto(points: int) -> tuple[Floats, Floats]:
    legendre = np.polynomial.Legendre.basis(points - 1)
    nodes = np.concatenate(([-1.0], np.sort(legendre.deriv().roots().real), [1.0]))
    weights = 2 / (points * (points - 1) * legendre(nodes) ** 2)
    return nodes * np.where(np.abs(nodes) == 1, 1 - 1e-12, 1.0), weights


# The fine rule's sum is the result, how far the coarse one is from it the error. Two Gauss rules would not do: a jump
# before the first node or near the middle of a panel is misjudged by both alike. 18 and 13 are chosen so that, wherever
# in a panel a jump lies, they differ by at least 0.38 of the fine rule's error.
_FINE, _COARSE = np.polynomial.legendre.leggauss(18), _lobatto(13)
_NODES = np.concatenate((_FINE[0], _COARSE[0]))
# One column a rule.
_RULES = np.zeros((len(_NODES), 2))
_RULES[:18, 0], _RULES[18:, 1] = _FINE[1], _COARSE[1]

# Far below the 1e-10 promised for the gain, because at a kink that nobody named the rules' difference changes sign with
# the kink's place, and may be small by chance; and above the rounding of a sum of a hundred positive terms, 1e-15.
_RELATIVE_TOLERANCE = 1e-13
# A quarter bisected 64 times, 1e-20, is narrower than the spacing of doubles near 1.
_MAX_BISECTIONS = 64
# Two million nodes, about a second; through a staircase of 100 steps a unit a unit Gaussian still converges.
_MAX_PANELS = 2**16
# A kink costs one panel a bisection, so 84 + 64 each; noise doubles them all. More than this is rounding, or a
# staircase, whose variance is far above the floor of rounding that is then allowed for.
_CROWDED = 2**12
_EPS = float(np.finfo(np.float64).eps)


def gaussian_moments(activation: Activation, *, mean: float = 0.0, std: float = 1.0) -> GaussianMoments:
    """Mean and variance of f(x), x ~ N(mean, std^2), by adaptive composite Gauss quadrature.

    With z = (x - mean)/std and the normal density phi(z), E g(x) is the integral of g(mean + std z) phi(z) over
    |z| < 37. Panels end at the kinks; each is bisected until two rules, 18-point Gauss and 13-point Lobatto, agree.
    The variance is then right to 1e-12 of itself, and the mean to 1e-12 of the standard deviation of f(x), or as well
    as rounding of x and f(x) allows where that is worse (tiny std beside a large mean): ``variance_error`` tells.

    >>> from sppkit.models.activations import relu
    >>> moments = gaussian_moments(relu)  # 1/sqrt(2 pi) and (1 - 1/pi)/2
    >>> f"{moments.mean:.6f} {moments.variance:.6f}"
    '0.398942 0.340845'
    """
    if not (math.isfinite(mean) and math.isfinite(std) and std >= 0):
        raise UsageError(f"a Gaussian needs a finite mean and a finite std of at least 0, not {mean!r} and {std!r}.")
    # On the CPU whatever the caller's default device (laying out a network sets it to meta). A function that draws
    # random numbers is refused, and must not have moved the caller's stream by then.
    with (
        torch.device("cpu"),
        torch.no_grad(),
        torch.random.fork_rng(devices=[]),
        np.errstate(over="ignore", invalid="ignore"),
    ):
        _check_elementwise(activation)
        if std == 0:
            return GaussianMoments(float(_values(activation, np.array([float(mean)]))[0]), 0.0, 0.0)
        return _Integral(activation, float(mean), float(std)).moments()


@dataclass(frozen=True)
class _Integral:
    """E g and E g^2 of g(z) = f(mean + std z) - shift, with a shift close to E f so that nothing cancels.

    Panels are given by ``left`` and ``right``, of shape (panels,); their integrals ``sums`` have shape (2, panels, 2),
    for the powers g and g^2 and the fine and the coarse rule.
    """

    activation: Activation
    mean: float
    std: float

    def moments(self) -> GaussianMoments:
        """Bisect panels until the two rules agree."""
        edges = self._edges()
        left, right = edges[:-1], edges[1:]
        shift = self._shift(left, right)
        sums = self._sums(left, right, shift)
        for _ in range(_MAX_BISECTIONS):
            first, second = sums[..., 0].sum(axis=1).tolist()
            self._check_tails(left, right, sums[1, :, 0], second)
            error = np.abs(sums[..., 0] - sums[..., 1])
            # Equal shares, not shares by width: at a jump the error falls no faster than the panel's width.
            allowed = self._allowed(shift, second, len(left)) / len(left)
            wide: NDArray[np.bool_] = np.any(error > allowed, axis=0)
            if not wide.any():
                return GaussianMoments(shift + first, second - first * first, float(error[1].sum()))
            if len(left) + wide.sum() > _MAX_PANELS:
                break
            left, right, halves = _bisect(left, right, wide)
            sums = np.concatenate((sums[:, ~wide], self._sums(*halves, shift)), axis=1)
        raise UsageError(
            f"the variance of {name_of(self.activation)} did not converge on {self._law()}; "
            "it must be smooth but for a few kinks and jumps: name those in Activation(..., kinks=(...))."
        )

    def _edges(self) -> Floats:
        x = np.concatenate((_FEATURES, np.array(self.activation.kinks, dtype=np.float64)))
        z = (x - self.mean) / self.std
        return np.unique(np.concatenate((_EDGES, z[np.abs(z) < _WINDOW])))

    # E f as the first panels have it; clipped, so that a constant function has g = 0 exactly.
    def _shift(self, left: Floats, right: Floats) -> float:
        z, weight = _nodes_and_weights(left, right)
        f = _values(self.activation, self.mean + self.std * z)
        return float(np.clip((f * weight @ _RULES)[:, 0].sum(), f.min(), f.max()))

    def _sums(self, left: Floats, right: Floats, shift: float) -> Floats:
        z, weight = _nodes_and_weights(left, right)
        g = _values(self.activation, self.mean + self.std * z) - shift
        sums: Floats = np.stack((g, g * g)) * weight @ _RULES
        return sums

    def _allowed(self, shift: float, second: float, panels: int) -> Floats:
        """Errors to accept in E g and E g^2 over all panels, shape (2, 1).

        Where panels have become many, no bisection helps against rounding: of x (times f', of size sd f / std), of
        f, and of numbers as large as 1 or x on the way, as in gelu's 1 + erf(x) and in x - tanh(x).
        """
        deviation = math.sqrt(second)
        error = _RELATIVE_TOLERANCE * deviation
        if panels > _CROWDED:
            size = 1 + (1 + deviation / self.std) * (abs(self.mean) + self.std) + abs(shift)
            error += 4 * _EPS * size  # a handful of operations, each to half an eps
        return np.array([[error], [error * (2 * deviation + error)]])

    # The variance of a function that outgrows the Gaussian would be what the window makes of it. A function that lives
    # in the tail only, as relu does at mean = -35 std, is none: being no larger than x, it adds less than 1e-157 there.
    def _check_tails(self, left: Floats, right: Floats, seconds: Floats, second: float) -> None:
        outer = seconds[(left == -_WINDOW) | (right == _WINDOW)].sum()
        size = 1 + abs(self.mean) + self.std
        if not math.isfinite(second) or outer > max(_RELATIVE_TOLERANCE * second, 1e-100 * size * size):
            raise UsageError(
                f"{name_of(self.activation)} has no finite variance on {self._law()}; "
                "it must grow more slowly than the Gaussian falls, f(x) < exp(z^2/4)."
            )

    def _law(self) -> str:
        return f"N({self.mean:g}, {self.std:g}^2)"


# Both rules' nodes z of every panel, and phi(z) dz but for the rules' own weights; of shape (panels, nodes).
def _nodes_and_weights(left: Floats, right: Floats) -> tuple[Floats, Floats]:
    half = ((right - left) / 2)[:, None]
    z = ((right + left) / 2)[:, None] + half * _NODES
    return z, half * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


# The wide panels give way to their halves, which come last and are returned once more by themselves.
def _bisect(left: Floats, right: Floats, wide: NDArray[np.bool_]) -> tuple[Floats, Floats, tuple[Floats, Floats]]:
    middle = (left[wide] + right[wide]) / 2
    halves = np.concatenate((left[wide], middle)), np.concatenate((middle, right[wide]))
    return np.concatenate((left[~wide], halves[0])), np.concatenate((right[~wide], halves[1])), halves


def _values(activation: Activation, x: Floats) -> Floats:
    values: Floats = _apply(activation, torch.from_numpy(x)).numpy()
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise UsageError(
            f"{name_of(activation)} is {values.flat[wrong[0]]} at x = {x.flat[wrong[0]]:.6g}; "
            "it must be finite wherever its input can lie."
        )
    return values


def _apply(activation: Activation, x: Tensor) -> Tensor:
    shape = tuple(x.shape)
    try:
        y = activation.function(x.clone())  # it may work in place
    except Exception as error:
        fact = str(error).partition("\n")[0]
        raise UsageError(
            f"{name_of(activation)} failed on a float64 tensor of shape {shape}: {fact}; "
            "it must accept any shape and dtype."
        ) from error
    if not isinstance(y, torch.Tensor):
        raise UsageError(f"{name_of(activation)} returned {type(y).__name__}; it must return a tensor.")
    if y.shape != x.shape or y.dtype != x.dtype:
        raise UsageError(
            f"{name_of(activation)} made {y.dtype} of shape {tuple(y.shape)} from {x.dtype} of shape {shape}; "
            "it must keep both."
        )
    return y


# Each element alone must give what it gives among others, and twice the same. The tolerance is for torch's vectorized
# and scalar kernels, which differ in the last bits.
def _check_elementwise(activation: Activation) -> None:
    # Unsorted, so that a function that sorts or accumulates shows itself; both signs, up to 4.
    x = 4 * torch.sin(torch.arange(1, 25, dtype=torch.float64) ** 2).reshape(4, 6)
    y = _apply(activation, x)
    close = functools.partial(torch.allclose, rtol=1e-9, atol=1e-12, equal_nan=True)
    if not close(y, _apply(activation, x)):
        raise UsageError(f"{name_of(activation)} is random: two calls differ; put it in evaluation mode.")
    alone = torch.cat([_apply(activation, element) for element in x.reshape(-1, 1)])
    if not close(y, alone.reshape(x.shape)):
        raise UsageError(
            f"{name_of(activation)} is not elementwise: an element's value depends on the others; a gain is "
            "defined for functions of one number, such as relu."
        )


def name_of(activation: Activation) -> str:
    """Return what a message calls an activation."""
    return f"activation {activation.name!r}"
